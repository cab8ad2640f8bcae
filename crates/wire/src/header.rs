//! Request and response headers around messages.

use crate::messages::{RequestHeader, ResponseHeader};
use crate::{ApiKey, DecodeError, EncodeError, Message, Reader, Request, Segment, Writer};

/// What a request says of itself before its body.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestHead {
    /// May be unknown: the caller answers or closes.
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<String>,
}

/// Reads the header and leaves `r` at the body. An unknown key is read with header version 1, enough to name it in a log.
pub fn decode_request_header(r: &mut Reader) -> Result<RequestHead, DecodeError> {
    let left = r.remaining();
    let Some([k0, k1, v0, v1]) = r.peek().copied() else { return Err(DecodeError::Truncated { needed: 4 - left.min(4), left }) };
    let (key, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let header_version = ApiKey::from_code(key).map_or(1, |k| k.request_header_version(version));
    let header = RequestHeader::decode(r, header_version)?;
    Ok(RequestHead {
        api_key: header.request_api_key,
        api_version: header.request_api_version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
    })
}

/// A whole request frame, its length in front.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Vec<Segment>, EncodeError> {
    let mut w = Writer::frame();
    let header = RequestHeader {
        request_api_key: R::KEY.code(),
        request_api_version: version,
        correlation_id,
        client_id: client_id.map(str::to_owned),
        ..Default::default()
    };
    header.encode(&mut w, R::KEY.request_header_version(version))?;
    request.encode(&mut w, version)?;
    Ok(w.finish_frame())
}

/// A whole response frame, its length in front.
pub fn encode_response<M: Message>(key: ApiKey, version: i16, correlation_id: i32, body: &M) -> Result<Vec<Segment>, EncodeError> {
    let mut w = Writer::frame();
    ResponseHeader { correlation_id, ..Default::default() }.encode(&mut w, key.response_header_version(version))?;
    body.encode(&mut w, version)?;
    Ok(w.finish_frame())
}
