//! Turns the notation in `schema/` into the `messages` module. Nothing that is generated is committed.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=schema");
    let mut messages = Vec::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir("schema").expect("schema/ is readable").flatten().map(|e| e.path()).collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("schema files are UTF-8");
        match schema_gen::parse(&text) {
            Ok(parsed) => messages.extend(parsed),
            Err(error) => panic!("{}: {error}", file.display()),
        }
    }
    let out = Path::new(&std::env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("messages.rs");
    std::fs::write(out, schema_gen::emit(&messages)).expect("OUT_DIR is writable");
}
