//! The host file against what people write into it.

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
    parse(packaged).unwrap();
    let taken: Vec<&str> = packaged.lines().map(|line| line.strip_prefix('#').unwrap_or(line)).collect();
    let settings: Vec<&str> = taken.into_iter().filter(|line| !line.starts_with(' ')).collect();
    let config = parse(&settings.join("\n")).unwrap();
    let default = parse("").unwrap();
    assert_eq!((&config.policy, config.datapath), (&default.policy, default.datapath));
    assert_eq!((&*config.control.group, config.attach.unknown), ("enforcer", Unknown::Quarantine));
    assert_eq!((config.endpoints.len(), config.control.admin_group.is_some()), (1, true));
}
