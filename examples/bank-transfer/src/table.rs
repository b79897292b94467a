//! The table of the books.

use crate::books::Book;
use crate::screen::{Ink, Screen};

/// Prints one line a bank, and their sum.
pub(crate) fn print(screen: Screen, opening: i64, books: &[Book]) {
    let [bank, accounts, before, moved, after, reserved] =
        ["bank", "accounts", "opening", "ledger", "closing", "reserved"];
    let head = format!("{bank:<8}{accounts:>9}{before:>15}{moved:>12}{after:>15}{reserved:>12}");
    screen.line("");
    screen.line(screen.paint(Ink::Heading, format!("  {head}")));
    let mut sum = Line::default();
    for book in books {
        let line = Line {
            accounts: book.accounts.len(),
            opening: opening * i64::try_from(book.accounts.len()).unwrap_or(i64::MAX),
            ledger: book.ledger.values().sum(),
            closing: book.sum(),
            reserved: book.reserved,
        };
        screen.line(line.show(&format!("bank {}", book.bank)));
        sum.add(&line);
    }
    screen.line(screen.paint(Ink::Heading, sum.show("all")));
}

#[derive(Default)]
struct Line {
    accounts: usize,
    opening: i64,
    ledger: i64,
    closing: i64,
    reserved: i64,
}

impl Line {
    fn show(&self, name: &str) -> String {
        let Line { accounts, opening, ledger, closing, reserved } = self;
        format!("  {name:<8}{accounts:>9}{opening:>15}{ledger:>+12}{closing:>15}{reserved:>12}")
    }

    fn add(&mut self, other: &Line) {
        self.accounts += other.accounts;
        self.opening += other.opening;
        self.ledger += other.ledger;
        self.closing += other.closing;
        self.reserved += other.reserved;
    }
}
