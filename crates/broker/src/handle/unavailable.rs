//! Requests of features that this node does not have: the answers that Kafka gives where the feature is not configured. None of these is
//! advertised, so that only a client that does not look comes here.

use crate::answer::Handled;
use crate::context::Context;
use wire::ErrorCode;
use wire::messages::create_acls_response::AclCreationResult;
use wire::messages::delete_acls_response::DeleteAclsFilterResult;
use wire::messages::describe_share_group_offsets_response::DescribeShareGroupOffsetsResponseGroup;
use wire::messages::{share_group_describe_response, streams_group_describe_response, *};

/// Answers with what the second function makes of a request.
macro_rules! refusals {
    ($($name:ident($request:ident: $type:ty) $answer:block)*) => {
        $(
            pub(super) fn $name(c: &mut Context, $request: $type) -> Handled {
                c.answer(&$answer)
            }
        )*
    };
}

const UNSUPPORTED: i16 = ErrorCode::UnsupportedVersion.code();
const SECURITY_DISABLED: i16 = ErrorCode::SecurityDisabled.code();
const NO_AUTHORIZER: &str = "No Authorizer is configured.";
/// Over connections without authentication no tokens are handed out.
const NO_TOKENS: i16 = ErrorCode::DelegationTokenRequestNotAllowed.code();

fn unsupported_text() -> Option<String> {
    Some(ErrorCode::UnsupportedVersion.message().to_owned())
}

refusals! {
    sasl_handshake(_r: SaslHandshakeRequest) {
        SaslHandshakeResponse { error_code: ErrorCode::IllegalSaslState.code(), ..Default::default() }
    }
    sasl_authenticate(_r: SaslAuthenticateRequest) {
        let text = "SaslAuthenticate request received after successful authentication".to_owned();
        SaslAuthenticateResponse { error_code: ErrorCode::IllegalSaslState.code(), error_message: Some(text), ..Default::default() }
    }
    describe_acls(_r: DescribeAclsRequest) {
        let text = "No Authorizer is configured on the broker".to_owned();
        DescribeAclsResponse { error_code: SECURITY_DISABLED, error_message: Some(text), ..Default::default() }
    }
    create_acls(r: CreateAclsRequest) {
        let one = || AclCreationResult { error_code: SECURITY_DISABLED, error_message: Some(NO_AUTHORIZER.to_owned()), ..Default::default() };
        CreateAclsResponse { results: r.creations.iter().map(|_| one()).collect(), ..Default::default() }
    }
    delete_acls(r: DeleteAclsRequest) {
        let one =
            || DeleteAclsFilterResult { error_code: SECURITY_DISABLED, error_message: Some(NO_AUTHORIZER.to_owned()), ..Default::default() };
        DeleteAclsResponse { filter_results: r.filters.iter().map(|_| one()).collect(), ..Default::default() }
    }
    renew_delegation_token(_r: RenewDelegationTokenRequest) {
        RenewDelegationTokenResponse { error_code: NO_TOKENS, expiry_timestamp_ms: -1, ..Default::default() }
    }
    expire_delegation_token(_r: ExpireDelegationTokenRequest) {
        ExpireDelegationTokenResponse { error_code: NO_TOKENS, expiry_timestamp_ms: -1, ..Default::default() }
    }
    describe_delegation_token(_r: DescribeDelegationTokenRequest) {
        DescribeDelegationTokenResponse { error_code: NO_TOKENS, ..Default::default() }
    }
    get_telemetry_subscriptions(_r: GetTelemetrySubscriptionsRequest) {
        GetTelemetrySubscriptionsResponse { error_code: UNSUPPORTED, ..Default::default() }
    }
    push_telemetry(_r: PushTelemetryRequest) {
        PushTelemetryResponse { error_code: UNSUPPORTED, ..Default::default() }
    }
    share_group_heartbeat(_r: ShareGroupHeartbeatRequest) {
        ShareGroupHeartbeatResponse { error_code: UNSUPPORTED, ..Default::default() }
    }
    share_group_describe(r: ShareGroupDescribeRequest) {
        let group =
            |group_id| share_group_describe_response::DescribedGroup { group_id, error_code: UNSUPPORTED, ..Default::default() };
        ShareGroupDescribeResponse { groups: r.group_ids.into_iter().map(group).collect(), ..Default::default() }
    }
    share_fetch(_r: ShareFetchRequest) {
        ShareFetchResponse { error_code: UNSUPPORTED, ..Default::default() }
    }
    share_acknowledge(_r: ShareAcknowledgeRequest) {
        ShareAcknowledgeResponse { error_code: UNSUPPORTED, ..Default::default() }
    }
    describe_share_group_offsets(r: DescribeShareGroupOffsetsRequest) {
        let group = |group_id| DescribeShareGroupOffsetsResponseGroup { group_id, error_code: UNSUPPORTED, ..Default::default() };
        let groups = r.groups.into_iter().map(|asked| group(asked.group_id));
        DescribeShareGroupOffsetsResponse { groups: groups.collect(), ..Default::default() }
    }
    alter_share_group_offsets(_r: AlterShareGroupOffsetsRequest) {
        AlterShareGroupOffsetsResponse { error_code: UNSUPPORTED, error_message: unsupported_text(), ..Default::default() }
    }
    delete_share_group_offsets(_r: DeleteShareGroupOffsetsRequest) {
        DeleteShareGroupOffsetsResponse { error_code: UNSUPPORTED, error_message: unsupported_text(), ..Default::default() }
    }
    streams_group_heartbeat(_r: StreamsGroupHeartbeatRequest) {
        StreamsGroupHeartbeatResponse { error_code: UNSUPPORTED, ..Default::default() }
    }
    streams_group_describe(r: StreamsGroupDescribeRequest) {
        let group =
            |group_id| streams_group_describe_response::DescribedGroup { group_id, error_code: UNSUPPORTED, ..Default::default() };
        StreamsGroupDescribeResponse { groups: r.group_ids.into_iter().map(group).collect(), ..Default::default() }
    }
}

/// Names those who would have owned and asked for the token.
pub(super) fn create_delegation_token(c: &mut Context, request: CreateDelegationTokenRequest) -> Handled {
    let principal = c.session.principal.to_string();
    let (type_, name) = principal.split_once(':').unwrap_or(("User", "ANONYMOUS"));
    let (type_, name) = (type_.to_owned(), name.to_owned());
    let owner = match request.owner_principal_name.filter(|name| !name.is_empty()) {
        Some(name) => (request.owner_principal_type.unwrap_or_default(), name),
        None => (type_.clone(), name.clone()),
    };
    let mut response = CreateDelegationTokenResponse {
        error_code: NO_TOKENS,
        principal_type: owner.0,
        principal_name: owner.1,
        issue_timestamp_ms: -1,
        expiry_timestamp_ms: -1,
        max_timestamp_ms: -1,
        ..Default::default()
    };
    if c.version() > 2 {
        (response.token_requester_principal_type, response.token_requester_principal_name) = (type_, name);
    }
    c.answer(&response)
}
