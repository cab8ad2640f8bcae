//! The Unicode classes that `\p{..}` can name: the general categories and scripts RE2J 1.8 knows, and which ASCII characters are in each. A set is
//! a bitmap: bit 65 is 'A'.

/// The name, its characters, and its characters under `(?i)`. Sorted.
const WITH_ASCII: [(&str, u128, u128); 22] = [
    ("Any", 0xffffffff_ffffffff_ffffffff_ffffffff, 0xffffffff_ffffffff_ffffffff_ffffffff),
    ("C", 0x80000000_00000000_00000000_ffffffff, 0x80000000_00000000_00000000_ffffffff),
    ("Cc", 0x80000000_00000000_00000000_ffffffff, 0x80000000_00000000_00000000_ffffffff),
    ("Common", 0xf8000001_f8000001_ffffffff_ffffffff, 0xf8000001_f8000001_ffffffff_ffffffff),
    ("L", 0x07fffffe_07fffffe_00000000_00000000, 0x07fffffe_07fffffe_00000000_00000000),
    ("Latin", 0x07fffffe_07fffffe_00000000_00000000, 0x07fffffe_07fffffe_00000000_00000000),
    ("Ll", 0x07fffffe_00000000_00000000_00000000, 0x07fffffe_00080800_00000000_00000000),
    ("Lu", 0x07fffffe_00000000_00000000, 0x07fffffe_07fffffe_00000000_00000000),
    ("N", 0x03ff0000_00000000, 0x03ff0000_00000000),
    ("Nd", 0x03ff0000_00000000, 0x03ff0000_00000000),
    ("P", 0x28000000_b8000001_8c00f7ee_00000000, 0x28000000_b8000001_8c00f7ee_00000000),
    ("Pc", 0x80000000_00000000_00000000, 0x80000000_00000000_00000000),
    ("Pd", 0x00002000_00000000, 0x00002000_00000000),
    ("Pe", 0x20000000_20000000_00000200_00000000, 0x20000000_20000000_00000200_00000000),
    ("Po", 0x10000001_8c00d4ee_00000000, 0x10000001_8c00d4ee_00000000),
    ("Ps", 0x08000000_08000000_00000100_00000000, 0x08000000_08000000_00000100_00000000),
    ("S", 0x50000001_40000000_70000810_00000000, 0x50000001_40000000_70000810_00000000),
    ("Sc", 0x00000010_00000000, 0x00000010_00000000),
    ("Sk", 0x00000001_40000000_00000000_00000000, 0x00000001_40000000_00000000_00000000),
    ("Sm", 0x50000000_00000000_70000800_00000000, 0x50000000_00000000_70000800_00000000),
    ("Z", 0x00000001_00000000, 0x00000001_00000000),
    ("Zs", 0x00000001_00000000, 0x00000001_00000000),
];

/// Classes without any.
const WITHOUT_ASCII: &str = "\
    Arabic Armenian Avestan Balinese Bamum Batak Bengali Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Cf Cham \
    Cherokee Co Coptic Cs Cuneiform Cypriot Cyrillic Deseret Devanagari Egyptian_Hieroglyphs Ethiopic Georgian Glagolitic Gothic Greek \
    Gujarati Gurmukhi Han Hangul Hanunoo Hebrew Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese \
    Kaithi Kannada Katakana Kayah_Li Kharoshthi Khmer Lao Lepcha Limbu Linear_B Lisu Lm Lo Lt Lycian Lydian M Malayalam Mandaic Mc Me \
    Meetei_Mayek Mn Mongolian Myanmar New_Tai_Lue Nko Nl No Ogham Ol_Chiki Old_Italic Old_Persian Old_South_Arabian Old_Turkic Oriya \
    Osmanya Pf Phags_Pa Phoenician Pi Rejang Runic Samaritan Saurashtra Shavian Sinhala So Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa \
    Tai_Le Tai_Tham Tai_Viet Tamil Telugu Thaana Thai Tibetan Tifinagh Ugaritic Unknown Vai Yi Zl Zp";

/// The ASCII characters of a class; None when there is no class of that name.
pub(super) fn class(name: &str, fold_case: bool) -> Option<u128> {
    if let Ok(at) = WITH_ASCII.binary_search_by(|(class, ..)| (*class).cmp(name)) {
        let (_, exact, folded) = WITH_ASCII[at];
        return Some(if fold_case { folded } else { exact });
    }
    WITHOUT_ASCII.split(' ').any(|class| class == name).then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(WITH_ASCII.is_sorted_by(|a, b| a.0 < b.0));
    }
}
