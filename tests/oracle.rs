//! The ledger oracle: from Kafka through state to Kafka, under every fault that can be had here, and what must be so afterwards.
//!
//! Inputs with unique ids, a fifth of them sent twice, go through `DEDUP`, a sum per key and window, and a 1→n `UNNEST`, into three topics and
//! a folder of files. What must come out is computed here, from what was sent (`ledger`). When all faults are over and all is read:
//!
//! | | |
//! |---|---|
//! | I1 | each output, as a multiset, is what follows from the inputs |
//! | I2 | rows of one key are in the order of its inputs |
//! | I3 | the sums add up to the inputs, and `DEDUP` remembers each id once |
//! | I4 | every record was taken once, and a further run finds none |
//! | I5 | the position that each topic's group holds is the number of its rows; the books balance, and nothing waits |
//! | I6 | after the last fault, the outputs have everything within a bound |
//! | I7 | `SELECT killed FROM runs` shows that each window was hit |
//!
//! The windows of `exactly-once.md` as they are here, where the source's position is in the checkpoint of the embedded store, and a sink's in
//! its own transactions:
//!
//! | | here | hit by |
//! |---|---|---|
//! | W1–W3 | `open, staging, logging, committing` of a commit; `sink_applying, sink_committing` of a transaction | kills, aimed |
//! | W4 | `revealing`: the checkpoint is durable, and not all is shown; `sink_recording`: Kafka has committed, and our copy of the position is behind | kills, aimed |
//! | W5 | an older store after a power cut | no process can hit it: the engine's simulation has disks that forget |
//! | W6 | the answer to a commit is lost | brokers killed and stopped, a network cut and silent, while transactions commit |
//! | W7 | a producer that its coordinator has given up | brokers and processes stopped for longer than a transaction may last (`topics.rs`) |
//! | W8–W9 | a task that moves to another process while its epoch is open | `changelog.rs`: SIGSTOP for longer than the session, workers that come and go |
//! | W13 | snapshots | there are none |
//! | W10–W11 | `sink_opening`: what was left open is ended before the position is asked for | kills, aimed |
//! | W12 | a removed key that an old copy has missed | the engine's own tests of a replica, with a changelog that is compacted |
//! | W14 | a redo that differs | every kill that leaves an open epoch |
//! | W15 | a consumer that skips | records deleted before they were read: a stop with a name (`topics.rs`) |
//! | W16 | a record larger than the topic takes | a dead letter (`topics.rs`) |
//! | W17 | a transaction that hangs blocks readers | kills in `sink_applying`: the next start ends it at once |

mod aim;
mod faults;
mod ledger;
