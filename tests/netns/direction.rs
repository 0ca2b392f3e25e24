//! A rule has a direction, and holds as long as it stands in the policy: not a packet longer, not a
//! connection shorter.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use enforcer_tests::connection::{Connection, hears};
use enforcer_tests::traffic::{
    Conversation, DUE, ECHO_PORT, PATIENCE, ping, ping_soon, tcp, tcp_soon, udp, udp_soon,
};
use enforcer_tests::{Workload, wait};

use crate::pair::{Pair, allow, deny};
use crate::town::{POLICY, Town};

const PORT: u16 = 7000;
/// Longer than TCP waits before it repeats what was lost during a cut of seconds.
const RETRANSMISSION: Duration = Duration::from_secs(15);

/// Both addresses of two workloads, family by family.
fn addresses(a: &Workload, b: &Workload) -> [(IpAddr, IpAddr); 2] {
    [(a.ipv4(), b.ipv4()), (a.ipv6(), b.ipv6())]
}

#[test]
fn a_rule_admits_what_it_names_and_its_answers() {
    let pair = Pair::build("named");
    for (client, server) in addresses(&pair.client, &pair.server) {
        pair.govern(&[]);
        assert!(!tcp_soon(&pair.client, server, ECHO_PORT) && !udp_soon(&pair.client, server, ECHO_PORT));
        pair.govern(&[allow("clients", "servers", &["tcp/5432"])]);
        assert!(tcp(&pair.client, server, ECHO_PORT), "tcp/5432 to {server}");
        assert!(!udp_soon(&pair.client, server, ECHO_PORT), "not udp");
        assert!(!ping_soon(&pair.client, server), "not ping");
        assert!(!tcp_soon(&pair.server, client, ECHO_PORT), "not back to {client}");
    }
}

#[test]
fn open_flows_stop_and_go_with_their_rule() {
    let pair = Pair::build("stop-and-go");
    let rule = [allow("clients", "servers", &["tcp/7000"])];
    pair.govern(&rule);
    let connections = addresses(&pair.client, &pair.server).map(|(_, server)| {
        Connection::open(&pair.client, &pair.server, SocketAddr::new(server, PORT)).unwrap()
    });
    for round in 0..2 {
        for connection in &connections {
            connection.upload(100_000).and_then(|()| connection.download(100_000)).unwrap();
        }
        pair.govern(&[]);
        for connection in &connections {
            (&connection.client).write_all(b"?").unwrap();
            (&connection.server).write_all(b"!").unwrap();
            assert!(!hears(&connection.server, PATIENCE), "round {round}: there without a rule");
            assert!(!hears(&connection.client, PATIENCE), "round {round}: back without a rule");
        }
        pair.govern(&rule);
        for connection in &connections {
            assert!(hears(&connection.server, RETRANSMISSION), "round {round}: there again");
            assert!(hears(&connection.client, RETRANSMISSION), "round {round}: back again");
        }
    }
}

#[test]
fn a_server_begins_nothing_by_a_rule_of_its_clients() {
    let pair = Pair::build("unasked");
    pair.govern(&[allow("clients", "servers", &["tcp/7000", "udp/7000"])]);
    for (client, server) in addresses(&pair.client, &pair.server) {
        let open = Connection::open(&pair.client, &pair.server, SocketAddr::new(server, PORT)).unwrap();
        assert!(!tcp_soon(&pair.server, client, ECHO_PORT), "a connection of the server's own");
        let asking = pair.client.netns().enter(|| UdpSocket::bind((client, 0))).unwrap();
        let unasked = pair.client.netns().enter(|| UdpSocket::bind((client, 0))).unwrap();
        let serving = pair.server.netns().enter(|| UdpSocket::bind((server, PORT))).unwrap();
        for (socket, patience) in [(&asking, DUE), (&serving, DUE), (&unasked, PATIENCE)] {
            socket.set_read_timeout(Some(wait::scaled(patience))).unwrap();
        }
        asking.send_to(b"?", (server, PORT)).unwrap();
        assert!(serving.recv(&mut [0; 8]).is_ok(), "a question to {server}");
        for to in [&unasked, &asking] {
            serving.send_to(b"!", to.local_addr().unwrap()).unwrap();
        }
        assert!(asking.recv(&mut [0; 8]).is_ok(), "the answer to {client}");
        assert!(unasked.recv(&mut [0; 8]).is_err(), "from the right port to one that did not ask");
        let elsewhere = SocketAddr::new(client, open.client.local_addr().unwrap().port());
        let attempt =
            pair.server.netns().enter(|| TcpStream::connect_timeout(&elsewhere, wait::scaled(PATIENCE)));
        assert_eq!(attempt.unwrap_err().kind(), std::io::ErrorKind::TimedOut, "to {elsewhere}");
    }
}

#[test]
fn a_deny_rule_beats_a_shared_network() {
    let town = Town::governed("deny");
    for (_, db) in addresses(&town.tool, &town.db) {
        assert!(tcp(&town.tool, db, ECHO_PORT), "green is shared");
    }
    town.daemon.apply(&format!("{POLICY}{}", deny("green", "green", &["tcp/5432"])));
    for (tool, db) in addresses(&town.tool, &town.db) {
        assert!(
            !tcp_soon(&town.tool, db, ECHO_PORT) && !tcp_soon(&town.db, tool, ECHO_PORT),
            "tcp/5432 is denied"
        );
        assert!(udp(&town.tool, db, ECHO_PORT) && ping(&town.tool, db), "the rest of green is not");
    }
    assert!(town.daemon.dropped("denied-by-rule") > 0);
}

#[test]
fn quarantine_cuts_open_flows_at_once() {
    let town = Town::governed("quarantine");
    let conversations = || {
        let of_api = addresses(&town.web, &town.api).map(|(_, api)| (&town.web, api));
        let of_web = addresses(&town.api, &town.web).map(|(_, web)| (&town.api, web));
        [of_api, of_web]
            .concat()
            .into_iter()
            .map(|(from, to)| Conversation::open(from, to, ECHO_PORT).unwrap())
    };
    let mut cut: Vec<_> = conversations().collect();
    let mut other = Conversation::open(&town.tool, town.api.ipv4(), ECHO_PORT).unwrap();
    assert!(cut.iter_mut().all(Conversation::goes_on) && other.goes_on());
    let quarantine = "[network.quarantine]\nprefixes = [\"10.1.0.5/32\", \"2001:db8:1::5/128\"]\n";
    let rule = deny("quarantine", "any", &["any"]);
    town.daemon.apply(&format!("{POLICY}{quarantine}{rule}"));
    assert!(cut.iter_mut().all(Conversation::is_over), "web is in quarantine");
    assert!(other.goes_on(), "tool is not");
    town.daemon.apply(POLICY);
    let goes_on = |conversation: &mut Conversation| {
        wait::within(RETRANSMISSION, || conversation.goes_on().then_some(())).is_some()
    };
    assert!(cut.iter_mut().all(goes_on), "the same connections");
}
