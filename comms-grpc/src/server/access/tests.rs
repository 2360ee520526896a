use super::*;
use comms_core::ErrorKind;
use tonic::Code;

const CHARGE: &str = "/shop.Payments/Charge";

fn identity(spiffe_id: &str, dns_names: &[&str]) -> PeerIdentity {
    let spiffe_id = (!spiffe_id.is_empty()).then(|| spiffe_id.into());
    PeerIdentity { spiffe_id, dns_names: dns_names.iter().map(|name| (*name).into()).collect() }
}

/// Returns the code of the refusal, or `Ok`.
fn code(access: &Access, path: &str, identity: Option<PeerIdentity>) -> Code {
    let mut extensions = Extensions::new();
    identity.map(|identity| extensions.insert(identity));
    match access.check(path, &HeaderMap::new(), &mut extensions, &Clock::system()) {
        Ok(()) => Code::Ok,
        Err(status) => {
            assert!(Refusal::of(&status).is_some(), "{status:?}");
            assert!(!status.message().contains("Payments"), "the client is not told the rule: {status}");
            status.code()
        }
    }
}

#[test]
fn a_listed_service_is_closed_to_all_but_the_named_callers_of_the_method() {
    let order = || Some(identity("spiffe://shop/order", &[]));
    let other = || Some(identity("spiffe://shop/other", &["other.internal"]));
    let access = Access::builder()
        .allow(CHARGE, [Caller::spiffe_id("spiffe://shop/order")])
        .allow("/shop.Open/Ping", [Caller::anyone()])
        .build()
        .unwrap();
    for (path, caller, expected) in [
        (CHARGE, order(), Code::Ok),
        (CHARGE, other(), Code::PermissionDenied),
        (CHARGE, None, Code::Unauthenticated),
        ("/shop.Payments/Refund", order(), Code::PermissionDenied),
        ("/shop.Payments/charge", order(), Code::PermissionDenied),
        ("/shop.Payments/Charge/", order(), Code::PermissionDenied),
        ("/shop.Payments/Refund", None, Code::PermissionDenied),
        ("/shop.Open/Ping", None, Code::Ok),
        ("/shop.Open/Pong", None, Code::PermissionDenied),
        ("/shop.Unlisted/Anything", None, Code::Ok),
    ] {
        assert_eq!(code(&access, path, caller), expected, "{path}");
    }
}

/// A router in front of the handlers may decode such a path, or map it to a service.
#[test]
fn a_path_without_service_and_method_is_denied_if_there_are_rules() {
    let rules = Access::builder().allow(CHARGE, [Caller::anyone()]).build().unwrap();
    let no_rules = Access::builder().build().unwrap();
    for path in
        ["", "*", "/", "//", "/shop.Payments", "/shop.Payments/", "//Charge", "/shop.Payment%73/Charge"]
    {
        assert_eq!(code(&rules, path, None), Code::PermissionDenied, "{path}");
        assert_eq!(code(&no_rules, path, None), Code::Ok, "{path}");
    }
    let error = Access::builder().allow("/shop.Payment%73/Charge", [Caller::anyone()]).build().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
}

#[test]
fn a_pattern_permits_the_ids_below_its_path_and_no_others() {
    let access = Access::builder()
        .allow(
            "/shop.Payments/*",
            [Caller::spiffe_id("spiffe://shop/jobs/*"), Caller::dns_name("Console.internal")],
        )
        .build()
        .unwrap();
    for (id, names, expected) in [
        ("spiffe://shop/jobs/nightly", &[][..], Code::Ok),
        ("spiffe://shop/jobs/nightly/2", &[], Code::Ok),
        ("spiffe://shop/jobs", &[], Code::PermissionDenied),
        ("spiffe://shop/jobs/", &[], Code::PermissionDenied),
        ("spiffe://shop/jobs-evil/x", &[], Code::PermissionDenied),
        ("spiffe://evil/spiffe://shop/jobs/x", &[], Code::PermissionDenied),
        ("", &["a.internal", "console.INTERNAL"], Code::Ok),
        ("", &["console.internal.evil"], Code::PermissionDenied),
        ("", &[], Code::PermissionDenied),
    ] {
        assert_eq!(code(&access, CHARGE, Some(identity(id, names))), expected, "{id} {names:?}");
    }
}

#[test]
fn a_rule_that_can_match_no_caller_is_invalid() {
    let bad_ids =
        ["shop/order", "spiffe://", "spiffe:///*", "spiffe://*/x", "spiffe://shop/a*", "spiffe://shop/"];
    for id in bad_ids {
        let error = Access::builder().allow(CHARGE, [Caller::spiffe_id(id)]).build().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{id}");
    }
    for path in ["", "/", "shop.Payments/Charge", "/shop.Payments", "/shop.Payments/", "//Charge"] {
        let error = Access::builder().allow(path, [Caller::anyone()]).build().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{path}");
    }
    Access::builder().allow(CHARGE, []).build().unwrap_err();
    Access::builder().allow(CHARGE, [Caller::dns_name("*.internal")]).build().unwrap_err();
}

#[cfg(feature = "jwt")]
mod tokens {
    use super::*;
    use comms_core::{
        clock::Clock,
        jwt::{Algorithm, DecodingKey},
    };
    use std::time::Duration;

    /// Claims: `{"iss":"https://id.example","aud":"api","sub":"ann","exp":1700000060}`.
    const ANN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
        eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDAwNjB9.\
        BtxgSs9w_l8hZvDsb1FQCdHvDYvWodpS45k4PB7a8fs";

    /// The same claims, and `"scope":"payments:write payments:read"`.
    const ANN_WRITES: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
        eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDAwNjAsInNjb3BlIjoicGF5\
        bWVudHM6d3JpdGUgcGF5bWVudHM6cmVhZCJ9.EPYZUvJLcywhtL-Zo3Jg-CUZtB2zkggBocVq6Wb_ffM";

    fn verifier(clock: &Clock) -> Verifier {
        let key = Arc::new(DecodingKey::from_secret(b"an HMAC key of 32 bytes, or more"));
        Verifier::new(Algorithm::HS256, "https://id.example", "api", key, clock.clone())
    }

    fn check(access: &Access, values: &[&str], identity: Option<PeerIdentity>) -> (Code, bool) {
        let (mut headers, mut extensions) = (HeaderMap::new(), Extensions::new());
        for value in values {
            headers.append("authorization", value.parse().unwrap());
        }
        identity.map(|identity| extensions.insert(identity));
        let code = access
            .check(CHARGE, &headers, &mut extensions, &Clock::system())
            .map_or_else(|status| status.code(), |()| Code::Ok);
        (code, extensions.get::<Claims>().is_some())
    }

    #[test]
    fn a_scope_needs_a_valid_token_that_has_it() {
        let clock = Clock::manual(Duration::from_secs(1_700_000_000));
        let access = Access::builder()
            .verifier(verifier(&clock))
            .allow(CHARGE, [Caller::scope("payments:write"), Caller::spiffe_id("spiffe://shop/order")])
            .build()
            .unwrap();
        let bearer = format!("Bearer {ANN}");
        let broken = format!("{bearer}x");
        let basic = format!("Basic {ANN}");
        for (values, expected) in [
            (&[][..], Code::Unauthenticated),
            // The token of this test has no scope.
            (&[&bearer], Code::PermissionDenied),
            (&[&broken], Code::Unauthenticated),
            (&[&basic], Code::Unauthenticated),
            (&[&bearer, &bearer], Code::Unauthenticated),
        ] {
            let values: Vec<&str> = values.iter().map(|value: &&String| value.as_str()).collect();
            assert_eq!(check(&access, &values, None), (expected, false), "{values:?}");
        }
        assert_eq!(check(&access, &[&format!("bearer  {ANN_WRITES}")], None), (Code::Ok, true));
        let both = Caller::spiffe_id("spiffe://shop/order").with_scope("payments:write");
        let both = Access::builder().verifier(verifier(&clock)).allow(CHARGE, [both]).build().unwrap();
        let writes = format!("Bearer {ANN_WRITES}");
        assert_eq!(check(&both, &[&writes], None).0, Code::PermissionDenied, "the identity is missing");
        let order = || Some(identity("spiffe://shop/order", &[]));
        assert_eq!(check(&both, &[&writes], order()), (Code::Ok, true));
        assert_eq!(check(&both, &[&bearer], order()).0, Code::PermissionDenied, "the scope is missing");
        // The identity permits the call alone, so the token is not read.
        assert_eq!(check(&access, &[&broken], order()), (Code::Ok, false));
        clock.advance(Duration::from_secs(120));
        assert_eq!(check(&access, &[&bearer], None), (Code::Unauthenticated, false), "expired");
    }

    #[test]
    fn a_scope_without_a_verifier_is_invalid() {
        let error = Access::builder().allow(CHARGE, [Caller::scope("a")]).build().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        let clock = Clock::manual(Duration::from_secs(1));
        for scope in ["", "a b"] {
            Access::builder()
                .verifier(verifier(&clock))
                .allow(CHARGE, [Caller::scope(scope)])
                .build()
                .unwrap_err();
        }
    }
}

/// A rule that could match no path would protect nothing.
#[test]
fn a_wildcard_stands_only_for_all_methods_of_a_service() {
    for path in ["/*/*", "/shop.*/*", "/shop.Payments/Ch*", "/*/Charge", "shop.Payments/Charge"] {
        let error = Access::builder().allow(path, [Caller::anyone()]).build().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{path}");
    }
}
