//! A member of a consumer group by hand: it leads the group, and gives partitions out as a test says.
//!
//! See "Kafka protocol guide" for requests, and ConsumerProtocolSubscription and ConsumerProtocolAssignment for what members tell each other.

use std::{collections::BTreeMap, thread, time::Duration};

use super::{
    bus::Bus,
    wire::{self, Answer, Api, Body, ask},
};

/// As `cooperative-sticky` of librdkafka.
const STRATEGY: &str = "cooperative-sticky";
/// Its name over restarts.
const NAME: &str = "by-hand";
const SESSION: i32 = 20_000;
/// The others are asked to come again.
const REBALANCE: i16 = 27;

/// It leads because it is there first, and as long as it stays.
pub struct Leader {
    coordinator: String,
    group: String,
    topic: String,
    member: String,
    generation: i32,
}

impl Leader {
    /// The first member of a group that nobody is in; it has nothing yet.
    pub fn join(bus: &Bus, group: &str, topic: &str) -> Leader {
        let coordinator = bus.retry("the coordinator", || bus.coordinator(group, 0));
        let (group, topic) = (group.to_owned(), topic.to_owned());
        let mut leader = Leader { coordinator, group, topic, member: String::new(), generation: 0 };
        assert!(leader.round(&[], |_| vec![]).is_empty(), "nobody is in the group");
        leader
    }

    /// Joins, and tells who else is there: names over restarts, and in this generation.
    fn again(&mut self) -> Vec<(String, String)> {
        let wants = Body::new().i16(1).array([&self.topic], |body, topic| body.text(topic)).i32(-1).i32(0);
        let body =
            Body::new().text(&self.group).i32(SESSION).i32(SESSION).text(&self.member).text(NAME).text("consumer");
        let body = body.array([wants.into_bytes()], |body, wants| body.text(STRATEGY).bytes(&wants));
        let mut answer = self.ask(wire::JOIN_GROUP, body);
        self.generation = answer.i32();
        assert_eq!(answer.text(), STRATEGY);
        let leads = answer.text();
        self.member = answer.text();
        assert_eq!(self.member, leads, "it leads the group");
        let all = answer.array(|answer| {
            let member = (answer.text(), answer.text());
            answer.bytes();
            (member.1, member.0)
        });
        all.into_iter().filter(|(name, _)| name != NAME).collect()
    }

    /// Gives partitions to members; what is in no list is nobody's.
    fn gives(&self, given: &BTreeMap<String, Vec<i32>>) {
        let body = Body::new().text(&self.group).i32(self.generation).text(&self.member).text(NAME);
        let body = body.array(given, |body, (member, partitions)| {
            let list = Body::new().i16(1).array([&self.topic], |body, topic| {
                body.text(topic).array(partitions, |body, partition| body.i32(*partition))
            });
            body.text(member).bytes(&list.i32(-1).into_bytes())
        });
        self.ask(wire::SYNC_GROUP, body);
    }

    /// A round of the group: it has `own`, and others what `give` says of their names. Who they are.
    pub fn round(&mut self, own: &[i32], give: impl Fn(&str) -> Vec<i32>) -> Vec<String> {
        let others = self.again();
        let mut given: BTreeMap<String, Vec<i32>> =
            others.iter().map(|(name, member)| (member.clone(), give(name))).collect();
        given.insert(self.member.clone(), own.to_vec());
        self.gives(&given);
        others.into_iter().map(|(name, _)| name).collect()
    }

    /// Says that it is there; whether the group asks its members to come again.
    pub fn is_asked(&self) -> bool {
        let body = Body::new().text(&self.group).i32(self.generation).text(&self.member).text(NAME);
        let mut answer = ask(&self.coordinator, wire::HEARTBEAT, body).expect("the coordinator answers");
        answer.i32();
        match answer.i16() {
            0 => false,
            REBALANCE => true,
            other => panic!("error {other} of a heartbeat"),
        }
    }

    fn ask(&self, api: Api, body: Body) -> Answer {
        // A coordinator may be on its way still.
        for _ in 0..50 {
            let mut answer = ask(&self.coordinator, api, body.clone()).expect("the coordinator answers");
            answer.i32();
            match answer.i16() {
                0 => return answer,
                14..=16 => thread::sleep(Duration::from_millis(200)),
                error => panic!("error {error} of request {}", api.0),
            }
        }
        panic!("no coordinator of {}", self.group)
    }
}
