//! A script in its statements.

use super::text::Text;
use crate::db::Kind;

/// The statements of a script, each with the line it begins in, counted from 1.
///
/// # Errors
/// Where the script cannot be read as tokens.
pub(crate) fn statements(sql: &str, kind: Kind) -> Result<Vec<(usize, &str)>, String> {
    let text = Text::new(sql, kind)?;
    let mut line = 1;
    let mut counted = 0;
    let mut statements = Vec::new();
    for pieces in text.pieces.split(|piece| piece.ends_statement()) {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { continue };
        line += sql[counted..first.start].matches('\n').count();
        counted = first.start;
        statements.push((line, &sql[first.start..last.end]));
    }
    Ok(statements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_that_are_their_own() {
        let script = "-- first;\nSELECT ';';;\n\nUPDATE t /* ; */\nSET a = 1;DELETE FROM t -- end";
        let found = statements(script, Kind::Postgres).unwrap();
        assert_eq!(
            found,
            [(2, "SELECT ';'"), (4, "UPDATE t /* ; */\nSET a = 1"), (5, "DELETE FROM t")]
        );
        assert_eq!(statements(" ;; -- nothing", Kind::Mysql).unwrap(), []);
        assert!(statements("SELECT 'open", Kind::Sqlite).is_err());
    }
}
