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
//! A ledger that is kept in Kafka (`changelog = 'bus'`) has two machines; every eighth time the one is killed while the other stands by.
//!
//! The windows of `exactly-once.md` as they are here. Without a changelog the source's position is in the checkpoint of the embedded store; with
//! one the checkpoint is a transaction of the changelog. A sink's position is in its own transactions in any case. Names are those of
//! `SELECT killed FROM runs`.
//!
//! | | without a changelog | with one, there is also | hit by |
//! |---|---|---|---|
//! | W1 | `open, staging, logging` of a commit; `sink_applying` | `changelog_writing`: the transaction is open, its records are on their way | kills, aimed |
//! | W2 | `committing` | `changelog_moving`: the same, of one that lets go of what topics held | kills, aimed |
//! | W3 | `sink_committing` | `changelog_committing` | kills, aimed |
//! | W4 | `revealing`: the checkpoint is durable, and not all is shown; `sink_recording`: Kafka has committed, and our copy of the position is behind | `changelog_copying`: Kafka has committed, and the folder's copy is behind | kills, aimed |
//! | W5 | an older store after a power cut | an older or torn copy | no process can hit it: the engine's simulation has disks that forget, and the suite of a replica (`engine/src/replica/conformance.rs`) copies that lost their newest frames |
//! | W6 | the answer to a sink's commit is lost | the answer to a checkpoint is lost | brokers killed and stopped, a network cut and silent, while transactions commit (`faults`); told to answer so, in the replica's own tests |
//! | W7 | a producer that its coordinator has given up | a zombie of the same task: fenced when another opens the changelog | brokers and processes stopped for longer than a transaction may last (`topics.rs`), and than the session (`changelog.rs`) |
//! | W8–W9 | there is one process | a task that moves to another process while its epoch is open | `changelog.rs`: SIGSTOP for longer than the session, workers that come and go; here each kill beside a machine that stands by |
//! | W10–W11 | `sink_opening`: what was left open is ended before the position is asked for | `changelog_opening` and `changelog_reading`: the same of the changelog, whose end is asked for as it is and read as it is committed. No offset of a group counts, so two of them cannot differ | kills, aimed |
//! | W12 | there is nothing compacted | a removed key that an old copy has missed: one older than half a day is made anew. Segments carry their epoch, and which of them live is read from the same transaction, so there is no digest beside | the suite of a replica |
//! | W13 | there are no snapshots: a copy is made from the changelog alone | the same | |
//! | W14 | a redo that differs | the same | every kill that leaves an open epoch |
//! | W15 | a consumer that skips: records deleted before they were read are a stop with a name (`topics.rs`) | the changelog is read with `auto.offset.reset=error`, and a first record that is not its id is a stop with a name | the suite of a replica |
//! | W16 | a record larger than the topic takes is a dead letter (`topics.rs`) | frames of more than 768 kB lie in several records | the suite of a replica |
//! | W17 | a transaction that hangs blocks readers: the next start ends it | the same: `transaction.timeout.ms` is ten seconds, and to open is to end it | kills in `sink_applying` and `changelog_writing` |

mod aim;
mod faults;
mod ledger;
