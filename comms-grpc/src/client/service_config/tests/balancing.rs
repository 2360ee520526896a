//! The choice among the load balancing policies.

use std::time::Duration;

use comms_core::resilience::OutlierConfig;

use super::error;
use crate::client::{
    balance::Balance,
    service_config::{Fixed, Outliers, ServiceConfig},
};

#[test]
fn the_first_supported_load_balancing_policy_is_chosen() {
    let choose = |json: &str, several| {
        let config = ServiceConfig::parse(json)?;
        Fixed::of(&config, several).map(|fixed| fixed.choice.balance)
    };
    let list = |policies: &str| format!(r#"{{"loadBalancingConfig": [{policies}]}}"#);
    let (robin, least) = (r#"{"round_robin": {}}"#, r#"{"least_request_experimental": {"choiceCount": 2}}"#);
    for (policies, one, several) in [
        (list(""), Balance::RoundRobin, Balance::RoundRobin),
        (list(robin), Balance::RoundRobin, Balance::RoundRobin),
        (list(&format!("{least}, {robin}")), Balance::LeastLoaded, Balance::LeastLoaded),
        (list(&format!(r#"{{"rls": {{}}}}, {least}"#)), Balance::LeastLoaded, Balance::LeastLoaded),
        (list(&format!(r#"{{"pick_first": {{}}}}, {least}"#)), Balance::RoundRobin, Balance::LeastLoaded),
        (r#"{"loadBalancingPolicy": "ROUND_ROBIN"}"#.to_owned(), Balance::RoundRobin, Balance::RoundRobin),
        (
            format!(r#"{{"loadBalancingPolicy": "nonsense", "loadBalancingConfig": [{least}]}}"#),
            Balance::LeastLoaded,
            Balance::LeastLoaded,
        ),
    ] {
        let chosen = [false, true].map(|many| choose(&policies, many).unwrap());
        assert_eq!(chosen, [one, several], "{policies}");
    }
    for (policies, reason) in [
        (
            list(r#"{"pick_first": {}}, {"rls": {}}"#),
            "loadBalancingConfig: none of pick_first, rls is supported",
        ),
        (list("{}"), "loadBalancingConfig[0]: must have exactly one field"),
        (list(r#"{"round_robin": {}, "rls": {}}"#), "loadBalancingConfig[0]: must have exactly one field"),
        (list(r#"{"round_robin": []}"#), "loadBalancingConfig[0].round_robin: must be an object"),
        (
            list(r#"{"least_request_experimental": {"choiceCount": 3}}"#),
            "[0].least_request_experimental.choiceCount: ",
        ),
        (r#"{"loadBalancingPolicy": "nonsense"}"#.to_owned(), "none of nonsense is supported"),
    ] {
        let error = choose(&policies, true).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn outlier_detection_has_the_names_and_defaults_of_a50_and_a_child() {
    let detection = |fields: &str, child: &str| {
        let config = format!(r#"{{"childPolicy": [{child}] {fields}}}"#);
        format!(r#"{{"loadBalancingConfig": [{{"outlier_detection_experimental": {config}}}]}}"#)
    };
    let robin = r#"{"round_robin": {}}"#;
    let outliers = |json: &str| {
        let config = ServiceConfig::parse(json).unwrap();
        Fixed::of(&config, true).unwrap().choice.outliers
    };
    let rules = r#", "successRateEjection": {}, "failurePercentageEjection": {}"#;
    assert_eq!(outliers(&detection(rules, robin)), Outliers::On(OutlierConfig::default()));
    assert_eq!(outliers(&detection("", robin)), Outliers::Off);
    assert_eq!(outliers(r#"{"loadBalancingConfig": [{"round_robin": {}}]}"#), Outliers::Unstated);
    let fields = r#", "interval": "1s", "successRateEjection": {"stdevFactor": 2500, "minimumHosts": 3}"#;
    let Outliers::On(config) = outliers(&detection(fields, robin)) else { panic!("a rule") };
    let rate = config.success_rate.unwrap();
    assert!((rate.stdev_factor - 2.5).abs() < f64::EPSILON && rate.minimum_hosts == 3);
    assert!(config.failure_percentage.is_none() && config.interval == Duration::from_secs(1));

    let path = "loadBalancingConfig[0].outlier_detection_experimental";
    for (json, reason) in [
        (detection(r#", "interval": "0s""#, robin), ".interval: must be above zero"),
        (detection(r#", "maxEjectionPercent": 101, "successRateEjection": {}"#, robin), ": "),
        (detection(rules, "{}"), ".childPolicy[0]: must have exactly one field"),
        (detection(rules, r#"{"round_robin": 1}"#), ".childPolicy[0].round_robin: must be an object"),
    ] {
        assert!(error(&json).contains(&format!("{path}{reason}")), "{}", error(&json));
    }
    let config = ServiceConfig::parse(&detection(rules, r#"{"rls": {}}"#)).unwrap();
    let error = Fixed::of(&config, true).unwrap_err().to_string();
    assert!(error.contains("none of outlier_detection_experimental is supported"), "{error}");
}
