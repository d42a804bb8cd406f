/// The embedded task: questions about small database schemas and the SQL that answers them, made by a deterministic
/// generator; and the corpus the embedded base model is trained on from scratch, which holds the same English and the same kind
/// of schemas, but other answer languages and never SQL. Read `SqlTask` first.
package org.llmcore.data.sql;
