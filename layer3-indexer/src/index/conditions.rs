//! Conditions of an SQL query.

use rusqlite::types::Value;

/// Conditions of a query, each with the value that it compares with.
#[derive(Default)]
pub(super) struct Conditions {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
}

impl Conditions {
    /// Adds ` AND` the condition if there is a value; its `?` becomes the value's number.
    pub(crate) fn add(&mut self, condition: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.values.push(value);
            let numbered = condition.replace('?', &format!("?{}", self.values.len()));
            self.sql.push_str(&format!(" AND {numbered}"));
        }
    }

    /// Only these rows.
    pub(crate) fn add_rows(&mut self, column: &str, rows: Option<&[i64]>) {
        let rows = rows.map(|rows| Value::from(format!("{rows:?}")));
        self.add(&format!("{column} IN (SELECT value FROM json_each(?))"), rows);
    }

    /// A project and the folders `{PROJECT}~2`, … of sessions whose id it held already.
    pub(crate) fn add_project(&mut self, column: &str, project: Option<&str>) {
        let condition = format!("({column} = ? OR substr({column}, 1, length(?) + 1) = ? || '~')");
        self.add(&condition, project.map(|project| Value::from(project.to_owned())));
    }
}
