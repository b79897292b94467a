//! What DTM publishes of its sagas, with the machines that it names. Nothing of it was run here, and the
//! machines are others: it says where the field stands, not who is faster.

/// A figure of theirs: what, sagas a second, on what, where it is published.
const DTM: [(&str, &str, &str, &str); 4] = [
    (
        "MySQL 5.7, two branches without SQL",
        "935",
        "one Aliyun ecs.c7.xlarge, 4 cores, 8 GiB, ESSD of 26,800 IOPS, all on it, ab -c 20",
        "dtm.pub/other/performance, October 2021",
    ),
    (
        "MySQL 5.7, two branches, 2 statements",
        "575",
        "the same; with DTM's barrier 531, without DTM 1,232",
        "the same",
    ),
    (
        "MySQL 5.7, two branches, 10 statements",
        "357",
        "the same; with DTM's barrier 341, without DTM 551",
        "the same",
    ),
    (
        "Redis, two empty branches",
        "10,875",
        "Redis on an hfc6 of 4 cores, 8 GiB; two application servers of 4 cores, 16 GiB; no fsync",
        "dtm's perform-redis, 2021 to 2022",
    ),
];

pub(super) fn print() {
    println!("\nDTM's sagas, as DTM publishes them; not run here");
    for (what, per_second, machine, place) in DTM {
        println!("{what}: {per_second} a second");
        println!("    {machine} ({place})");
    }
}
