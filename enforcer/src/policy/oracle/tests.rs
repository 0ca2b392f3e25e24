use etherparse::PacketBuilder;

use super::*;

/// *web* and *db* share nothing, *web* and *api* do; the host lies inside their network.
fn world() -> World {
    let json = r#"{"networks":{
        "blue":{"prefixes":["10.1.0.0/24"],"except":["10.1.0.13/32"]},
        "db":{"prefixes":["10.9.0.0/24"]}}}"#;
    let endpoint = |name: &str, address: &str| Endpoint {
        name: name.to_owned(),
        mac: None,
        addresses: vec![address.parse().unwrap()],
    };
    World {
        policy: Some(serde_json::from_str(json).unwrap()),
        endpoints: vec![
            endpoint("web", "10.1.0.5/32"),
            endpoint("api", "10.1.0.6/32"),
            endpoint("odd", "10.1.0.13/32"),
            endpoint("db", "10.9.0.5/32"),
        ],
        host: vec!["10.1.0.1/32".parse().unwrap()],
        conversations: Vec::new(),
    }
}

fn udp(src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src, dst, 64).udp(ports.0, ports.1);
    builder.write(&mut frame, &[0; 8]).unwrap();
    frame
}

fn sent(world: &World, endpoint: &str, frame: &[u8]) -> Answer {
    let hook = Hook::FromEndpoint;
    judge(world, &Arrival { hook, endpoint, frame, stamp: None, locally_generated: false })
}

const WEB: [u8; 4] = [10, 1, 0, 5];
const API: [u8; 4] = [10, 1, 0, 6];
const ODD: [u8; 4] = [10, 1, 0, 13];
const DB: [u8; 4] = [10, 9, 0, 5];
const HOST: [u8; 4] = [10, 1, 0, 1];

#[test]
fn who_shares_a_network_talks() {
    let world = world();
    let to = |dst| sent(&world, "web", &udp(WEB, dst, (4000, 9)));
    assert_eq!(to(API), Answer::Pass(PassReason::SharedNetwork));
    assert_eq!(to(ODD), drop(DropReason::DefaultDeny));
    assert_eq!(to(DB), drop(DropReason::DefaultDeny));
    assert_eq!(to(HOST), drop(DropReason::DefaultDeny));
    assert_eq!(sent(&world, "db", &udp(WEB, API, (4000, 9))), drop(DropReason::SpoofedSource));
    assert_eq!(sent(&world, "nobody", &udp(WEB, API, (4000, 9))), drop(DropReason::NoEndpoint));
    let unwritten = World { policy: None, ..world };
    assert_eq!(sent(&unwritten, "web", &udp(WEB, API, (4000, 9))), drop(DropReason::NoPolicy));
}

#[test]
fn a_stamp_proves_where_a_packet_came_from() {
    let world = world();
    let frame = udp(WEB, API, (4000, 9));
    let delivered = |stamp| {
        let arrival = Arrival {
            hook: Hook::ToEndpoint,
            endpoint: "api",
            frame: &frame,
            stamp,
            locally_generated: false,
        };
        judge(&world, &arrival)
    };
    assert_eq!(delivered(Some("web")), Answer::Pass(PassReason::SharedNetwork));
    assert_eq!(delivered(Some("db")), drop(DropReason::UnstampedSource));
    assert_eq!(delivered(None), drop(DropReason::UnstampedSource));
}

#[test]
fn an_answer_needs_a_question() {
    let mut world = world();
    let (question, answer) = (udp(HOST, WEB, (4000, 9)), udp(WEB, HOST, (9, 4000)));
    assert_eq!(sent(&world, "web", &answer), drop(DropReason::DefaultDeny));
    world.conversations.extend(opens(&question));
    assert_eq!(sent(&world, "web", &answer), Answer::Pass(PassReason::Reply));
}

#[test]
fn what_is_cut_short_is_malformed() {
    let (world, frame) = (world(), udp(WEB, API, (4000, 9)));
    for length in 0..frame.len() {
        assert_eq!(sent(&world, "web", &frame[..length]), Answer::Drop(Why::Malformed));
    }
}
