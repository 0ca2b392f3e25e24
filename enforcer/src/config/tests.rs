//! The host file against what people write into it.

use std::collections::BTreeSet;

use enforcer_common::host::HostEnd;

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("enforcer.toml"), text)
}

#[test]
fn defaults_want_container_veths_only() {
    let config = parse("").unwrap();
    for (name, wanted) in [("veth1a2b", true), ("ve-web", true), ("cali12", true), ("eth0", false)] {
        assert_eq!(config.attach.wants(name), wanted, "{name}");
    }
    assert_eq!(config.attach.unknown, Unknown::Quarantine);
    assert_eq!(config.datapath.mark_mask, 0x0ff0_0000);
}

#[test]
fn exclusion_beats_inclusion() {
    let config = parse("[attach]\nmatch = [\"veth*\"]\nexclude = [\"veth-mgmt*\"]").unwrap();
    assert!(config.attach.wants("veth-web") && !config.attach.wants("veth-mgmt0"));
}

#[test]
fn declared_addresses_are_found_by_name() {
    let config =
        parse("[[endpoint]]\nmatch = \"veth-web\"\naddresses = [\"10.1.0.5\", \"2001:db8::/64\"]").unwrap();
    let declared: Vec<String> =
        config.declared(Subject::named("veth-web")).map(|network| network.to_string()).collect();
    assert_eq!(declared, ["10.1.0.5/32", "2001:db8::/64"]);
    assert_eq!(config.declared(Subject::named("veth-db")).count(), 0);
}

#[test]
fn mistakes_name_file_place_and_fix() {
    let unknown = parse("[attach]\nmatched = []").unwrap_err().to_string();
    assert!(
        unknown.contains("enforcer.toml") && unknown.contains("line 2") && unknown.contains("match"),
        "{unknown}"
    );
    let bits = parse("[[endpoint]]\nmatch = \"v\"\naddresses = [\"10.1.0.5/24\"]").unwrap_err().to_string();
    assert!(bits.contains("10.1.0.5/24") && bits.contains("host bits"), "{bits}");
    for wide in ["::/0", "0.0.0.0/0", "fe80::1", "fe80::/9"] {
        let text = format!("[[endpoint]]\nmatch = \"v\"\naddresses = [\"{wide}\"]");
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(wide) && error.contains("no endpoint can own"), "{error}");
    }
    let mask = parse("[datapath]\nmark_mask = \"ff\"").unwrap_err().to_string();
    assert!(mask.contains("0x0ff00000"), "{mask}");
}

#[test]
fn what_an_endpoint_provides_is_found_by_name() {
    let config = parse(
        "[[endpoint]]\nmatch = \"veth-*\"\nprovides = [\"router\"]\n\
         [[endpoint]]\nmatch = \"veth-dhcp\"\naddresses = []\nprovides = [\"dhcp-server\"]",
    )
    .unwrap();
    let provided =
        |name| config.provided(Subject::named(name)).map(Provides::word).collect::<Vec<_>>().join(" ");
    assert_eq!(provided("veth-dhcp"), "router dhcp-server");
    assert_eq!(provided("veth-web"), "router");
    assert_eq!(provided("ve-web"), "");
    assert_eq!(config.declared(Subject::named("veth-dhcp")).count(), 0, "its addresses are discovered");
}

#[test]
fn the_words_of_the_file_are_those_of_the_reports() {
    for provides in Provides::ALL {
        let text = format!("[[endpoint]]\nmatch = \"v\"\nprovides = [\"{}\"]", provides.word());
        assert_eq!(parse(&text).unwrap().provided(Subject::named("v")).collect::<Vec<_>>(), [provides]);
    }
}

#[test]
fn unknown_services_are_refused_with_the_known_ones() {
    let text = "[[endpoint]]\nmatch = \"veth-dhcp\"\nprovides = [\"dhcp\"]";
    insta::assert_snapshot!(parse(text).unwrap_err(), @r#"
    enforcer.toml: TOML parse error at line 3, column 13
      |
    3 | provides = ["dhcp"]
      |             ^^^^^^
    unknown variant `dhcp`, expected `dhcp-server` or `router`
    "#);
}

#[test]
fn an_endpoint_of_which_nothing_is_declared_is_a_mistake() {
    insta::assert_snapshot!(parse("[[endpoint]]\nmatch = \"veth-web\"").unwrap_err(), @r#"enforcer.toml: endpoint.match = "veth-web": nothing is declared of it; add `addresses`, `provides`, `mode` or `macs`"#);
}

#[test]
fn guards_are_wanted_by_pattern_and_nowhere_by_default() {
    let config = parse("[guard]\nmatch = [\"veth-web\", \"eth*\"]").unwrap();
    for (name, wanted) in [("veth-web", true), ("veth-db", false), ("eth0", true)] {
        assert_eq!(config.guard.wants(name), wanted, "{name}");
    }
    assert!(!parse("").unwrap().guard.wants("eth0"));
    let error = parse("[guard]\ninterfaces = []").unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("`match`"), "{error}");
}

#[test]
fn the_control_socket_is_for_root_and_the_group_enforcer_by_default() {
    let default = parse("").unwrap().control;
    assert_eq!((&*default.group, &default.admin_group), ("enforcer", &None));
    let control = parse("[control]\ngroup = \"4001\"\nadmin_group = \"wheel\"").unwrap().control;
    assert_eq!((&*control.group, control.admin_group.as_deref()), ("4001", Some("wheel")));
    let error = parse("[control]\ngroups = \"adm\"").unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("`admin_group`"), "{error}");
}

/// Prose has a space after its `#`, settings have none.
#[test]
fn the_packaged_host_file_is_right_as_it_is_and_with_every_setting_taken() {
    let packaged = include_str!("../../../packaging/enforcer.toml");
    assert_eq!(parse(packaged).unwrap().mode, Mode::Observe, "nothing is dropped on the first day");
    let taken: Vec<&str> = packaged.lines().map(|line| line.strip_prefix('#').unwrap_or(line)).collect();
    let settings: Vec<&str> = taken.into_iter().filter(|line| !line.starts_with(' ')).collect();
    let config = parse(&settings.join("\n")).unwrap();
    let default = parse("").unwrap();
    assert_eq!((&config.policy, config.datapath), (&default.policy, default.datapath));
    assert_eq!((&*config.control.group, config.attach.unknown), ("enforcer", Unknown::Quarantine));
    assert_eq!((config.endpoints.len(), config.control.admin_group.is_some()), (1, true));
}

#[test]
fn modes_are_given_to_the_host_and_to_endpoints() {
    assert_eq!(parse("").unwrap().mode, Mode::Enforce);
    let config = parse(
        "mode = \"audit\"\n[[endpoint]]\nmatch = \"veth-w*\"\nmode = \"observe\"\n\
         [[endpoint]]\nmatch = \"veth-web\"\nmode = \"enforce\"",
    )
    .unwrap();
    assert_eq!(config.mode, Mode::Audit);
    assert_eq!(config.mode_of(Subject::named("veth-web")), Some(Mode::Observe), "the first one counts");
    assert_eq!(config.mode_of(Subject::named("veth-db")), None);
    let error = parse("mode = \"off\"").unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("`observe`") && error.contains("`audit`"), "{error}");
}

#[test]
fn endpoints_are_told_by_more_than_a_name() {
    let labels: BTreeSet<String> =
        ["docker:name:web-1", "docker:label:enforcer.network=blue"].map(str::to_owned).into();
    let netns = BTreeSet::from(["web".to_owned()]);
    let subject = Subject {
        alias: Some("tenant a"),
        mac: Some([2, 0, 0, 0, 0, 0xab]),
        netns: &netns,
        labels: &labels,
        ..Subject::named("veth7")
    };
    for (pattern, is) in [
        ("veth?", true),
        ("alias:tenant*", true),
        ("alias:web", false),
        ("mac:02:00:00:00:00:AB", true),
        ("mac:02:00:00:00:00:ac", false),
        ("netns:web", true),
        ("netns:db", false),
        ("docker:name:web-*", true),
        ("docker:label:enforcer.network=blue", true),
        ("docker:label:enforcer.network", true),
        ("docker:label:enforcer.net", false),
        ("docker:label:enforcer.network=red", false),
    ] {
        let config = parse(&format!("[[endpoint]]\nmatch = \"{pattern}\"\nmode = \"audit\"")).unwrap();
        assert_eq!(config.mode_of(subject), is.then_some(Mode::Audit), "{pattern}");
        assert_eq!(config.mode_of(Subject::named("other")), None, "{pattern}");
    }
}

#[test]
fn whoever_may_use_any_mac_is_not_told_by_it() {
    let by_mac = "[[endpoint]]\nmatch = \"mac:02:00:00:00:00:ab\"\n";
    let error = parse(&format!("{by_mac}macs = \"any\"")).unwrap_err().to_string();
    assert!(error.contains("the workload's choice"), "{error}");

    let text = format!("{by_mac}mode = \"audit\"\n[[endpoint]]\nmatch = \"veth-any\"\nmacs = \"any\"");
    let config = parse(&text).unwrap();
    let named = |name| Subject { mac: Some([2, 0, 0, 0, 0, 0xab]), ..Subject::named(name) };
    assert_eq!(config.mode_of(named("veth-own")), Some(Mode::Audit));
    assert_eq!(config.mode_of(named("veth-any")), None);
    assert_eq!(config.macs_of(named("veth-any")), Macs::Any);
}

#[test]
fn a_match_that_means_nothing_is_refused_with_what_does() {
    for bad in
        ["", "alias:", "mac:02:00", "mac:00:00:00:00:00:00", "docker:web", "docker:label:=x", "label:x"]
    {
        let error = parse(&format!("[[endpoint]]\nmatch = \"{bad}\"\nmode = \"audit\"")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("endpoint.match") && text.contains(bad) && text.contains("write "), "{text}");
    }
}

#[test]
fn the_host_is_an_end_with_lists() {
    let host = parse("").unwrap().host;
    assert_eq!(host.end(), &crate::host_end::builtin());
    let config = parse(
        "[host]\nfrom_workloads = \"rules\"\nallow = [\"tcp/443\"]\nto_workloads = \"rules\"\nfailsafe = []",
    );
    let host = config.unwrap().host;
    assert_eq!((host.allow.len(), host.failsafe.len(), host.to_workloads), (1, 0, ToWorkloads::Rules));
    assert_eq!(host.end().flags, HostEnd::ASKS_BY_RULES);
    let error = parse("[host]\nallow = [\"ssh\"]").unwrap_err().to_string();
    assert!(error.contains("host.allow") && error.contains("\"ssh\"") && error.contains("tcp/"), "{error}");
    let many: Vec<String> = (0..40).map(|n| format!("\"tcp/{}\"", 100 + 2 * n)).collect();
    let error = parse(&format!("[host]\nfailsafe = [{}]", many.join(", "))).unwrap_err().to_string();
    assert!(error.contains("host.failsafe") && error.contains("40 ranges"), "{error}");
    assert!(parse("[host]\nfrom_workloads = \"open\"").is_err());
}

#[test]
fn what_leads_outside_is_no_workload() {
    let text = "[attach]\nmatch = [\"veth*\"]\n[[uplink]]\nmatch = \"veth-up*\"\ntrust = \"external\"\n\
                [[uplink]]\nmatch = \"eth*\"";
    let config = parse(text).unwrap();
    assert!(config.attach.wants("veth-web") && !config.attach.wants("veth-up0"));
    let trust = |name| config.trust(name);
    assert_eq!(
        (trust("veth-up0"), trust("eth0"), trust("lo")),
        (Some(Trust::External), Some(Trust::Fabric), None)
    );
}

#[test]
fn docker_is_asked_unless_it_is_off() {
    let socket = |text| parse(text).unwrap().docker.socket;
    assert_eq!(socket(""), Some("/var/run/docker.sock".into()));
    assert_eq!(socket("[docker]\nsocket = \"off\""), None);
    let error = parse("[docker]\nsocket = \"docker.sock\"").unwrap_err().to_string();
    assert!(error.contains("docker.socket") && error.contains("\"off\""), "{error}");
}
