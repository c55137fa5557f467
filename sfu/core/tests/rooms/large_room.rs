use tianqiao_sfu_core::rooms::SlotTarget;

use crate::harness::*;

#[test]
fn three_hundred_join_and_nobody_else_notices() {
    let mut node = Node::new(2);
    let views = [
        view("v0", SlotTarget::ActiveSpeaker, 720),
        view("v1", of("p1", Camera), 180),
        view("v2", of("p2", Camera), 0),
    ];
    for i in 0..5 {
        node.join(
            joiner(format!("p{i}"))
                .publishing(&[Microphone, Camera])
                .viewing(&views),
        );
    }
    node.speak(&["p0"], 1_000);
    for i in 0..295 {
        node.commands.clear();
        node.events.clear();
        let name = format!("s{i}");
        let state = node.join(joiner(&name).viewing(&views));
        assert_eq!(state.slots.len(), 3);
        let seat = node.seat(&name);
        // Its own Open, four audio slots, three video slots.
        assert_eq!(node.commands.len(), 8);
        assert!(node.commands.iter().all(|(worker, _)| *worker == seat.worker));
        assert!(node.events.is_empty());
    }
    assert_eq!(node.shown("s294"), node.shown("s0"));
}
