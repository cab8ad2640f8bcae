//! Model to Rust source: one module a message, with structs, defaults, `read`, `write` and (for records on disk) JSON.
//!
//! The emitted code leans on `wire::codec` for every primitive, so that what is generated stays short: a line a field and direction.

use crate::model::{Field, Kind, Message, Scalar, Type, Versions};
use crate::names::{lower_first, snake, upper_first};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Rust source for all messages; retired ones (no valid version) are left out.
pub fn emit(messages: &[Message]) -> String {
    let mut out = String::new();
    let live: Vec<&Message> = messages.iter().filter(|m| !m.versions.is_none()).collect();
    for message in &live {
        emit_message(&mut out, message);
    }
    emit_registry(&mut out, &live);
    emit_api_keys(&mut out, &live);
    out
}

/// Appends a line; formatting into a `String` cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => { writeln!($out, $($arg)*).expect("a String takes all") };
}

struct Context<'a> {
    message: &'a Message,
    /// Structs without any field that needs a version check still take one, to keep calls uniform.
    json: bool,
}

fn emit_message(out: &mut String, message: &Message) {
    let json = !matches!(message.kind, Kind::Request | Kind::Response | Kind::Header);
    let context = Context { message, json };
    let name = upper_first(&message.name);
    line!(out, "pub use {}::{name};", snake(&message.name));
    line!(out, "pub mod {} {{", snake(&message.name));
    line!(out, "#[allow(unused_imports)] use crate::codec::*;");
    line!(out, "#[allow(unused_imports)] use base::Uuid;");
    line!(out, "#[allow(unused_imports)] use bytes::Bytes;");
    let mut done = BTreeSet::new();
    emit_struct(out, &context, &name, message.versions, &message.fields, &mut done);
    for s in &message.structs {
        emit_struct(out, &context, &upper_first(&s.name), s.versions.intersect(message.versions), &s.fields, &mut done);
    }
    emit_trait(out, message, &name, json);
    line!(out, "}}");
}

fn emit_trait(out: &mut String, message: &Message, name: &str, json: bool) {
    let Versions { min, max } = message.versions;
    line!(out, "impl Message for {name} {{");
    line!(out, "const NAME: &'static str = \"{}\";", message.name);
    line!(out, "const API_KEY: Option<i16> = {:?};", message.api_key);
    line!(out, "const MIN_VERSION: i16 = {min}; const MAX_VERSION: i16 = {max};");
    line!(
        out,
        "fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {{ check_version::<Self>(version)?; Self::read(r, version) }}"
    );
    line!(
        out,
        "fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {{ check_encode_version::<Self>(version)?; self.write(w, version) }}"
    );
    if carries_errors(message, &message.fields) {
        line!(out, "fn error_codes(&self, each: &mut dyn FnMut(i16)) {{ self.visit_errors(each); }}");
    }
    if json {
        line!(
            out,
            "fn to_json(&self, version: i16) -> String {{ let mut j = Json::default(); self.write_json(&mut j, version); j.finish() }}"
        );
    }
    line!(out, "}}");
    if message.kind == Kind::Request {
        let api = api_name(message);
        line!(out, "impl Request for {name} {{ const KEY: crate::ApiKey = crate::ApiKey::{api}; type Response = super::{api}Response; }}");
    }
}

fn api_name(message: &Message) -> &str {
    message.name.strip_suffix("Request").unwrap_or(&message.name)
}

fn emit_struct(out: &mut String, context: &Context, name: &str, versions: Versions, fields: &[Field], done: &mut BTreeSet<String>) {
    if !done.insert(name.to_owned()) {
        return;
    }
    line!(out, "#[derive(Clone, Debug, PartialEq)]\npub struct {name} {{");
    for field in fields {
        line!(out, "pub {}: {},", snake(&field.name), rust_type(field));
    }
    line!(out, "pub unknown_tags: UnknownTags,\n}}");
    line!(out, "impl Default for {name} {{ fn default() -> Self {{ Self {{");
    for field in fields {
        line!(out, "{}: {},", snake(&field.name), default_value(field));
    }
    line!(out, "unknown_tags: UnknownTags::default() }} }} }}");

    let flexible = condition(context.message.flexible, context.message.versions).unwrap_or_else(|| "true".into());
    let flexible = if context.message.flexible.intersect(context.message.versions).is_none() { "false".into() } else { flexible };
    line!(out, "#[allow(dead_code, unused_variables, unused_mut)]\nimpl {name} {{");
    emit_min_size(out, versions, fields, &flexible);
    emit_read(out, versions, fields, &flexible);
    emit_write(out, versions, fields, &flexible);
    if context.json {
        emit_json(out, versions, fields);
    }
    if carries_errors(context.message, fields) {
        emit_error_visitor(out, context.message, fields);
    }
    line!(out, "}}");

    for field in fields {
        if !field.fields.is_empty() {
            let inner = upper_first(field.ty.struct_name().expect("only structs have fields"));
            emit_struct(out, context, &inner, versions.intersect(field.versions), &field.fields, done);
        }
    }
}

/// The fewest bytes that an element of this struct can take: what bounds an array's length before anything is allocated.
fn emit_min_size(out: &mut String, versions: Versions, fields: &[Field], flexible: &str) {
    line!(out, "pub(crate) fn min_size(v: i16) -> usize {{ let flex = {flexible}; let mut n = flex as usize;");
    for field in fields.iter().filter(|f| f.tag.is_none()) {
        let size = min_size(field);
        match condition(field.versions, versions) {
            None => line!(out, "n += {size};"),
            Some(c) => line!(out, "if {c} {{ n += {size}; }}"),
        }
    }
    line!(out, "n }}");
}

fn min_size(field: &Field) -> String {
    let by_flex = |plain: usize| if field.never_flexible { plain.to_string() } else { format!("(if flex {{ 1 }} else {{ {plain} }})") };
    match &field.ty {
        Type::Scalar(Scalar::Bool | Scalar::Int8) => "1".into(),
        Type::Scalar(Scalar::Int16 | Scalar::Uint16) => "2".into(),
        Type::Scalar(Scalar::Int32 | Scalar::Uint32) => "4".into(),
        Type::Scalar(Scalar::Int64 | Scalar::Float64) => "8".into(),
        Type::Scalar(Scalar::Uuid) => "16".into(),
        Type::Scalar(Scalar::String) => by_flex(2),
        Type::Scalar(Scalar::Bytes | Scalar::Records) | Type::Array(_) => by_flex(4),
        Type::Struct(_) if !field.nullable.is_none() => "1".into(),
        Type::Struct(name) => format!("{}::min_size(v)", upper_first(name)),
    }
}

fn emit_read(out: &mut String, versions: Versions, fields: &[Field], flexible: &str) {
    line!(out, "pub(crate) fn read(r: &mut Reader, v: i16) -> Result<Self, DecodeError> {{");
    line!(out, "let flex = {flexible}; let mut m = Self::default();");
    for field in fields.iter().filter(|f| f.tag.is_none()) {
        let read = format!("m.{} = {};", snake(&field.name), read_field(field, versions));
        match condition(field.versions, versions) {
            None => line!(out, "{read}"),
            Some(c) => line!(out, "if {c} {{ {read} }}"),
        }
    }
    if flexible != "false" {
        line!(out, "if flex {{ let mut unknown = UnknownTags::default();");
        for field in fields.iter().filter(|f| is_tagged_nullable_struct(f)) {
            line!(out, "m.{} = Some(Default::default());", snake(&field.name));
        }
        line!(out, "r.tags(&mut unknown, |r, tag| {{ match tag {{");
        for field in fields.iter().filter(|f| f.tag.is_some()) {
            let guard = condition(field.versions, versions).map_or(String::new(), |c| format!(" if {c}"));
            let tag = field.tag.unwrap_or_default();
            line!(out, "{tag}{guard} => {{ m.{} = {}; }}", snake(&field.name), read_field(field, versions));
        }
        line!(out, "_ => return Ok(false), }}\n#[allow(unreachable_code)] Ok(true) }})?; m.unknown_tags = unknown; }}");
    }
    line!(out, "Ok(m) }}");
}

fn read_field(field: &Field, versions: Versions) -> String {
    let flex = if field.never_flexible { "false" } else { "flex" };
    let plain = read_value(&field.ty, flex);
    if field.nullable.is_none() || !is_nullable_type(&field.ty) {
        return plain;
    }
    let nullable = match &field.ty {
        Type::Scalar(Scalar::String) => format!("r.nullable_string({flex})?"),
        Type::Scalar(Scalar::Bytes) => format!("r.nullable_bytes({flex})?"),
        Type::Scalar(Scalar::Records) => format!("r.nullable_records({flex})?"),
        Type::Array(element) => {
            format!("r.nullable_array({flex}, {}, |r| Ok({}))?", element_min_size(element, flex), read_value(element, flex))
        }
        _ if is_tagged_nullable_struct(field) => format!("if r.unsigned_varint()? > 0 {{ Some({plain}) }} else {{ None }}"),
        _ => format!("if r.present()? {{ Some({plain}) }} else {{ None }}"),
    };
    match condition(field.nullable, versions.intersect(field.versions)) {
        None => nullable,
        Some(c) => format!("if {c} {{ {nullable} }} else {{ Some({plain}) }}"),
    }
}

fn read_value(ty: &Type, flex: &str) -> String {
    match ty {
        Type::Scalar(Scalar::String) => format!("r.string({flex})?"),
        Type::Scalar(Scalar::Bytes) => format!("r.bytes({flex})?"),
        Type::Scalar(Scalar::Records) => format!("r.records({flex})?"),
        Type::Scalar(s) => format!("r.{}()?", method(*s)),
        Type::Struct(name) => format!("{}::read(r, v)?", upper_first(name)),
        Type::Array(element) => format!("r.array({flex}, {}, |r| Ok({}))?", element_min_size(element, flex), read_value(element, flex)),
    }
}

fn element_min_size(ty: &Type, flex: &str) -> String {
    match ty {
        Type::Struct(name) => format!("{}::min_size(v)", upper_first(name)),
        Type::Scalar(Scalar::Bool | Scalar::Int8) => "1".into(),
        Type::Scalar(Scalar::Int16 | Scalar::Uint16) => "2".into(),
        Type::Scalar(Scalar::Int32 | Scalar::Uint32) => "4".into(),
        Type::Scalar(Scalar::Int64 | Scalar::Float64) => "8".into(),
        Type::Scalar(Scalar::Uuid) => "16".into(),
        Type::Scalar(Scalar::String) => format!("if {flex} {{ 1 }} else {{ 2 }}"),
        _ => format!("if {flex} {{ 1 }} else {{ 4 }}"),
    }
}

fn emit_write(out: &mut String, versions: Versions, fields: &[Field], flexible: &str) {
    line!(out, "pub(crate) fn write(&self, w: &mut Writer, v: i16) -> Result<(), EncodeError> {{ let flex = {flexible};");
    for field in fields {
        let here = condition(field.versions, versions);
        let refuse =
            format!("if {} {{ return Err(EncodeError::Unsupported {{ field: \"{}\", version: v }}); }}", is_set(field), field.name);
        let absent_refused = !field.ignorable && here.is_some();
        let write = if field.tag.is_some() { String::new() } else { write_field(field, versions) };
        match here {
            None => line!(out, "{write}"),
            Some(c) if absent_refused => line!(out, "if {c} {{ {write} }} else {refuse}"),
            Some(c) => line!(out, "if {c} {{ {write} }}"),
        }
    }
    if flexible != "false" {
        line!(out, "if flex {{ let mut tags = TagWriter::default();");
        let mut tagged: Vec<&Field> = fields.iter().filter(|f| f.tag.is_some()).collect();
        tagged.sort_by_key(|f| f.tag);
        for field in tagged {
            let guard = condition(field.versions, versions).map_or(String::new(), |c| format!("({c}) && "));
            let tag = field.tag.unwrap_or_default();
            line!(out, "if {guard}{} {{ let w = tags.field({tag}); {} }}", is_set(field), write_field(field, versions));
        }
        line!(out, "tags.write(&self.unknown_tags, w); }}");
    }
    line!(out, "Ok(()) }}");
}

fn write_field(field: &Field, versions: Versions) -> String {
    let flex = if field.never_flexible { "false" } else { "flex" };
    let place = format!("self.{}", snake(&field.name));
    if field.nullable.is_none() || !is_nullable_type(&field.ty) {
        return write_value(&field.ty, &format!("&{place}"), flex);
    }
    let null = match &field.ty {
        Type::Scalar(Scalar::String) => format!("w.null_string({flex});"),
        _ if is_tagged_nullable_struct(field) => "w.unsigned_varint(0);".to_owned(),
        Type::Struct(_) => "w.i8(-1);".to_owned(),
        _ => format!("w.null_array({flex});"),
    };
    let null = match condition(field.nullable, versions.intersect(field.versions)) {
        None => null,
        Some(c) => format!("if {c} {{ {null} }} else {{ return Err(EncodeError::Null {{ field: \"{}\", version: v }}); }}", field.name),
    };
    let marker = match &field.ty {
        _ if is_tagged_nullable_struct(field) => "w.unsigned_varint(1);".to_owned(),
        Type::Struct(_) => match condition(field.nullable, versions.intersect(field.versions)) {
            None => "w.i8(1);".to_owned(),
            Some(c) => format!("if {c} {{ w.i8(1); }}"),
        },
        _ => String::new(),
    };
    format!("match &{place} {{ None => {{ {null} }} Some(x) => {{ {marker} {} }} }}", write_value(&field.ty, "x", flex))
}

/// `place` is an expression of reference type.
fn write_value(ty: &Type, place: &str, flex: &str) -> String {
    match ty {
        Type::Scalar(Scalar::String) => format!("w.string({place}, {flex})?;"),
        Type::Scalar(Scalar::Bytes) => format!("w.bytes({place}, {flex})?;"),
        Type::Scalar(Scalar::Records) => format!("w.records({place}, {flex})?;"),
        Type::Scalar(s) => format!("w.{}(*({place}));", method(*s)),
        Type::Struct(_) => format!("({place}).write(w, v)?;"),
        Type::Array(element) => {
            format!("w.array_len(({place}).len(), {flex})?; for x in ({place}).iter() {{ {} }}", write_value(element, "x", flex))
        }
    }
}

/// Whether one of these fields of a response is an error code, or has one inside.
fn carries_errors(message: &Message, fields: &[Field]) -> bool {
    message.kind == Kind::Response
        && fields.iter().any(|field| is_error_code(field) || carries_errors(message, fields_inside(message, field)))
}

fn is_error_code(field: &Field) -> bool {
    field.name == "ErrorCode" && matches!(field.ty, Type::Scalar(Scalar::Int16))
}

/// The fields of the struct that a field holds, one or an array of them.
fn fields_inside<'a>(message: &'a Message, field: &'a Field) -> &'a [Field] {
    let shared = |name: &str| message.structs.iter().find(|s| s.name == name).map_or(&[][..], |s| &s.fields);
    if field.fields.is_empty() { field.ty.struct_name().map_or(&[], shared) } else { &field.fields }
}

/// All error codes of a response, for counting.
fn emit_error_visitor(out: &mut String, message: &Message, fields: &[Field]) {
    line!(out, "pub(crate) fn visit_errors(&self, each: &mut dyn FnMut(i16)) {{");
    for field in fields {
        let place = format!("self.{}", snake(&field.name));
        if is_error_code(field) {
            line!(out, "each({place});");
        } else if carries_errors(message, fields_inside(message, field)) {
            let nullable = !field.nullable.is_none() && is_nullable_type(&field.ty);
            match (&field.ty, nullable) {
                (Type::Array(_), true) => line!(out, "for x in {place}.iter().flatten() {{ x.visit_errors(each); }}"),
                (Type::Array(_), false) => line!(out, "for x in &{place} {{ x.visit_errors(each); }}"),
                (_, true) => line!(out, "if let Some(x) = &{place} {{ x.visit_errors(each); }}"),
                (_, false) => line!(out, "{place}.visit_errors(each);"),
            }
        }
    }
    line!(out, "}}");
}

fn emit_json(out: &mut String, versions: Versions, fields: &[Field]) {
    line!(out, "pub(crate) fn write_json(&self, j: &mut Json, v: i16) {{ j.open('{{');");
    for field in fields {
        let place = format!("self.{}", snake(&field.name));
        let value = if is_nullable_type(&field.ty) && !field.nullable.is_none() {
            format!("match &{place} {{ None => j.null(), Some(x) => {{ {} }} }}", json_value(&field.ty, "x"))
        } else {
            json_value(&field.ty, &format!("&{place}"))
        };
        let mut guards: Vec<String> = condition(field.versions, versions).into_iter().collect();
        if field.tag.is_some() {
            guards.push(is_set(field));
        }
        let guard =
            if guards.is_empty() { "true".into() } else { guards.iter().map(|g| format!("({g})")).collect::<Vec<_>>().join(" && ") };
        line!(out, "if {guard} {{ j.key(\"{}\"); {value} }}", lower_first(&field.name));
    }
    line!(out, "j.close('}}'); }}");
}

fn json_value(ty: &Type, place: &str) -> String {
    match ty {
        Type::Scalar(Scalar::String | Scalar::Uuid) => format!("j.text(&({place}).to_string())"),
        Type::Scalar(Scalar::Bytes) => format!("j.base64({place})"),
        Type::Scalar(Scalar::Records) => format!("j.number(({place}).len())"),
        Type::Scalar(_) => format!("j.number(*({place}))"),
        Type::Struct(_) => format!("({place}).write_json(j, v)"),
        Type::Array(element) => {
            format!("j.open('['); for x in ({place}).iter() {{ j.element(); {}; }} j.close(']')", json_value(element, "x"))
        }
    }
}

fn is_nullable_type(ty: &Type) -> bool {
    matches!(ty, Type::Array(_) | Type::Struct(_) | Type::Scalar(Scalar::String | Scalar::Bytes | Scalar::Records))
}

fn rust_type(field: &Field) -> String {
    let plain = value_type(&field.ty);
    if !field.nullable.is_none() && is_nullable_type(&field.ty) { format!("Option<{plain}>") } else { plain }
}

fn value_type(ty: &Type) -> String {
    match ty {
        Type::Scalar(Scalar::Bool) => "bool".into(),
        Type::Scalar(Scalar::Uuid) => "Uuid".into(),
        Type::Scalar(Scalar::String) => "String".into(),
        Type::Scalar(Scalar::Bytes) => "Bytes".into(),
        Type::Scalar(Scalar::Records) => "Records".into(),
        Type::Scalar(s) => method(*s).into(),
        Type::Struct(name) => upper_first(name),
        Type::Array(element) => format!("Vec<{}>", value_type(element)),
    }
}

fn default_value(field: &Field) -> String {
    let nullable = !field.nullable.is_none() && is_nullable_type(&field.ty);
    let plain = match (&field.ty, field.default.as_deref()) {
        (_, Some("null")) => return "None".into(),
        (Type::Scalar(Scalar::Bool), d) => (d == Some("true")).to_string(),
        (Type::Scalar(Scalar::String), Some(text)) => format!("{text:?}.to_owned()"),
        (Type::Scalar(Scalar::String), None) => "String::new()".into(),
        (Type::Scalar(Scalar::Uuid), _) => "Uuid::ZERO".into(),
        (Type::Scalar(Scalar::Bytes), _) => "Bytes::new()".into(),
        (Type::Scalar(Scalar::Records), _) => "Records::default()".into(),
        (Type::Scalar(Scalar::Float64), d) => format!("{}f64", d.unwrap_or("0.0")),
        (Type::Scalar(_), d) => d.unwrap_or("0").to_owned(),
        (Type::Struct(name), _) => format!("{}::default()", upper_first(name)),
        (Type::Array(_), _) => "Vec::new()".into(),
    };
    if nullable { format!("Some({plain})") } else { plain }
}

/// Whether the field differs from its default.
/// Kafka marks these by a varint, and takes an empty struct for the default that is not written, whatever the schema says: so null is
/// written, and a field that is not there is an empty struct.
fn is_tagged_nullable_struct(field: &Field) -> bool {
    field.tag.is_some() && !field.nullable.is_none() && matches!(field.ty, Type::Struct(_))
}

fn is_set(field: &Field) -> String {
    let place = format!("self.{}", snake(&field.name));
    if is_tagged_nullable_struct(field) {
        return format!("{place} != Some(Default::default())");
    }
    match default_value(field).as_str() {
        "None" => format!("{place}.is_some()"),
        "true" => format!("!{place}"),
        "false" => place,
        "String::new()" | "Vec::new()" | "Bytes::new()" => format!("!{place}.is_empty()"),
        default => format!("{place} != {default}"),
    }
}

fn method(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "bool",
        Scalar::Int8 => "i8",
        Scalar::Int16 => "i16",
        Scalar::Uint16 => "u16",
        Scalar::Int32 => "i32",
        Scalar::Uint32 => "u32",
        Scalar::Int64 => "i64",
        Scalar::Float64 => "f64",
        Scalar::Uuid => "uuid",
        Scalar::String => "string",
        Scalar::Bytes => "bytes",
        Scalar::Records => "records",
    }
}

/// A test on `v` that tells whether `wanted` holds, given that `v` is one of `possible`; `None` when it always does.
fn condition(wanted: Versions, possible: Versions) -> Option<String> {
    if wanted.covers(possible) {
        return None;
    }
    if wanted.intersect(possible).is_none() {
        return Some("false".into());
    }
    let mut parts = Vec::new();
    if wanted.min > possible.min {
        parts.push(format!("v >= {}", wanted.min));
    }
    if wanted.max < possible.max {
        parts.push(format!("v <= {}", wanted.max));
    }
    Some(parts.join(" && "))
}

fn emit_registry(out: &mut String, messages: &[&Message]) {
    line!(out, "/// Every message, for tests, fuzzers and tools.\npub static REGISTRY: &[crate::codec::MessageInfo] = &[");
    for m in messages {
        let name = upper_first(&m.name);
        line!(out, "crate::codec::MessageInfo::of::<{name}>(crate::codec::MessageKind::{:?}),", m.kind);
    }
    line!(out, "];");
}

fn emit_api_keys(out: &mut String, messages: &[&Message]) {
    let requests: Vec<&&Message> = messages.iter().filter(|m| m.kind == Kind::Request).collect();
    line!(out, "pub(crate) mod api_key {{");
    line!(out, "/// The APIs of Kafka's protocol that have a valid version.");
    line!(out, "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\n#[repr(i16)]\npub enum ApiKey {{");
    for m in &requests {
        line!(out, "{} = {},", api_name(m), m.api_key.unwrap_or_default());
    }
    line!(out, "}}\nimpl ApiKey {{");
    line!(out, "pub const ALL: &'static [ApiKey] = &[");
    for m in &requests {
        line!(out, "ApiKey::{},", api_name(m));
    }
    line!(out, "];");
    line!(out, "/// Facts of the schema: name, versions, first flexible version, listeners, whether the newest version is unstable.");
    line!(out, "pub(crate) const fn facts(self) -> crate::api::ApiFacts {{ match self {{");
    for m in &requests {
        let flexible = if m.flexible.is_none() { i16::MAX } else { m.flexible.min };
        line!(
            out,
            "ApiKey::{} => crate::api::ApiFacts {{ name: {:?}, min: {}, max: {}, flexible: {flexible}, broker: {}, controller: {}, unstable: {} }},",
            api_name(m),
            api_name(m),
            m.versions.min,
            m.versions.max,
            m.listeners.iter().any(|l| l == "broker"),
            m.listeners.iter().any(|l| l == "controller"),
            m.latest_unstable
        );
    }
    line!(out, "}} }} }} }}");
}
