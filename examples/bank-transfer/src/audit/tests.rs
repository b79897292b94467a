use super::*;

const OPENING: i64 = 100;

/// Two banks with an account each, and transfers of 30 from the first to the second.
struct Case {
    sent: Vec<Sent>,
    record: Record,
    books: Vec<Book>,
}

fn case() -> Case {
    let books = ["a", "b"].map(|bank| Book {
        bank: bank.to_owned(),
        accounts: BTreeMap::from([(1, OPENING)]),
        ..Book::default()
    });
    Case { sent: Vec::new(), record: Record::new(), books: books.to_vec() }
}

impl Case {
    fn sent(mut self, id: &str, heard: Heard, standings: &[Standing]) -> Self {
        let legs = vec![Leg::new("a", 1, -30), Leg::new("b", 1, 30)];
        self.sent.push(Sent { id: id.to_owned(), legs, heard, xid: None });
        if !standings.is_empty() {
            self.record.insert(id.to_owned(), standings.to_vec());
        }
        self
    }

    /// Books a leg, row and balance.
    fn booked(mut self, id: &str, bank: usize, amount: i64) -> Self {
        let book = &mut self.books[bank];
        *book.accounts.get_mut(&1).unwrap() += amount;
        book.ledger.insert((id.to_owned(), 1), amount);
        self
    }

    fn audit(&self) -> Audit {
        audit(OPENING, &self.sent, &self.record, &self.books)
    }

    /// What it counts as: committed, rolled back, in doubt, never asked.
    #[track_caller]
    fn counts(&self, expected: [u64; 4]) {
        let audit = self.audit();
        let Audit { committed, rolled_back, in_doubt, never_asked, .. } = audit;
        assert_eq!([committed, rolled_back, in_doubt, never_asked], expected);
    }

    #[track_caller]
    fn clean(self, expected: [u64; 4]) {
        self.counts(expected);
        assert_eq!(self.audit().findings, Vec::<String>::new());
    }

    #[track_caller]
    fn finds(self, expected: [u64; 4], says: &[&str]) {
        self.counts(expected);
        let findings = self.audit().findings;
        assert_eq!(findings.len(), says.len(), "{findings:#?}");
        for (finding, says) in findings.iter().zip(says) {
            assert!(finding.contains(says), "{findings:#?}");
        }
    }
}

const COMMITTED: [u64; 4] = [1, 0, 0, 0];
const ROLLED_BACK: [u64; 4] = [0, 1, 0, 0];
const IN_DOUBT: [u64; 4] = [0, 0, 1, 0];
const NEVER_ASKED: [u64; 4] = [0, 0, 0, 1];

#[test]
fn a_committed_transfer_has_all_its_rows_and_any_other_none() {
    let both = |case: Case| case.booked("t", 0, -30).booked("t", 1, 30);
    both(case().sent("t", Heard::Committed, &[Standing::Committed])).clean(COMMITTED);
    case().sent("t", Heard::RolledBack, &[Standing::RolledBack]).clean(ROLLED_BACK);
    case().sent("t", Heard::RolledBack, &[]).clean(ROLLED_BACK);
}

#[test]
fn the_record_says_what_a_killed_caller_could_not() {
    let both = |case: Case| case.booked("t", 0, -30).booked("t", 1, 30);
    both(case().sent("t", Heard::Nothing, &[Standing::Committed])).clean(COMMITTED);
    case().sent("t", Heard::Nothing, &[Standing::RolledBack]).clean(ROLLED_BACK);
    case().sent("t", Heard::Nothing, &[Standing::Unasked]).clean(NEVER_ASKED);
    case().sent("t", Heard::Nothing, &[]).clean(NEVER_ASKED);
    // The newest attempt counts.
    let again = [Standing::Unasked, Standing::RolledBack];
    case().sent("t", Heard::Nothing, &again).clean(NEVER_ASKED);
}

#[test]
fn who_asked_and_heard_nothing_is_in_doubt_until_there_is_a_record() {
    case().sent("t", Heard::InDoubt, &[Standing::Unasked]).clean(ROLLED_BACK);
    case().sent("t", Heard::InDoubt, &[]).finds(IN_DOUBT, &["in doubt"]);
    case().sent("t", Heard::Nothing, &[Standing::Active]).finds(IN_DOUBT, &["in doubt"]);
}

#[test]
fn half_a_transfer_is_found_even_where_the_sum_is_right() {
    // One transfer did only its debit, another only its credit.
    case()
        .sent("t", Heard::Committed, &[Standing::Committed])
        .sent("u", Heard::RolledBack, &[Standing::RolledBack])
        .booked("t", 0, -30)
        .booked("u", 1, 30)
        .finds(
            [1, 1, 0, 0],
            &[
                "t is Committed, with 1 right and 1 of 2",
                "u is RolledBack, with 1 right and 1 of 2",
            ],
        );
}

#[test]
fn a_row_with_another_amount_is_no_row_of_the_transfer() {
    case()
        .sent("t", Heard::Committed, &[Standing::Committed])
        .booked("t", 0, -30)
        .booked("t", 1, 20)
        .finds(COMMITTED, &["with 1 right and 2 of 2", "held 200 and hold 190"]);
}

#[test]
fn an_answer_that_the_record_denies_is_found() {
    let booked = |case: Case| case.booked("t", 0, -30).booked("t", 1, 30);
    booked(case().sent("t", Heard::Committed, &[Standing::RolledBack]))
        .finds(COMMITTED, &["answered as committed; on record it is Some(RolledBack)"]);
    booked(case().sent("t", Heard::Committed, &[]))
        .finds(COMMITTED, &["answered as committed; on record it is None"]);
    case()
        .sent("t", Heard::RolledBack, &[Standing::Committed])
        .finds(ROLLED_BACK, &["answered as rolled back; on record it is committed"]);
    booked(case().sent("t", Heard::Committed, &[Standing::Committed, Standing::Committed]))
        .finds(COMMITTED, &["committed 2 times"]);
}

#[test]
fn money_from_nowhere_is_found() {
    let mut richer = case();
    richer.books[1].accounts.insert(1, OPENING + 7);
    richer.finds([0; 4], &["holds 107; its ledger says 100", "held 200 and hold 207"]);
    // A row of a transfer that nobody sent.
    case().booked("x", 0, 0).finds([0; 4], &["bank a has a row of x for 1 nobody asked for"]);
}

#[test]
fn a_transaction_that_no_transfer_is_is_found() {
    let mut case = case().sent("t", Heard::RolledBack, &[Standing::RolledBack]);
    case.record.insert("global:7".to_owned(), vec![Standing::RolledBack]);
    case.finds(ROLLED_BACK, &["has global:7 on record"]);
}
