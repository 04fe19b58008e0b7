"use strict";
// Questions in SQL about the listed clips, answered by SQLite (sql.js) inside the page.

const ANSWER_MAX = 200; // rows
let library = null, database = null;

// SQLite starts with the first question: nobody else waits for it.
async function openDatabase() {
  library ??= await initSqlJs();
  if (database) return;
  database = new library.Database();
  const names = data.columns.map((column) => `"${column.name}"`);
  const kinds = data.columns.map((column) => (column.kind === "text" ? "TEXT" : "REAL"));
  database.run(`CREATE TABLE clips (${names.map((name, i) => `${name} ${kinds[i]}`).join(", ")})`);
  const insert = database.prepare(`INSERT INTO clips VALUES (${names.map(() => "?").join(", ")})`);
  database.run("BEGIN");
  for (const row of data.rows) insert.run(row.map((value) => (Array.isArray(value) ? JSON.stringify(value) : value)));
  database.run("COMMIT");
  insert.free();
  database.run("PRAGMA query_only = 1");
}

async function answer() {
  byId("sql-run").disabled = true;
  byId("sql-error").textContent = "";
  try {
    await openDatabase();
    showAnswer(byId("sql-query").value);
  } catch (error) {
    byId("sql-answer").replaceChildren();
    byId("sql-said").textContent = "";
    byId("sql-error").textContent = visible(String(error.message ?? error));
  }
  byId("sql-run").disabled = false;
}

function showAnswer(query) {
  const asked = database.prepare(query), lines = [];
  let total = 0;
  try {
    while (asked.step()) {
      total += 1;
      if (total <= ANSWER_MAX) lines.push(asked.get());
    }
    const head = make("tr"), top = make("thead"), body = make("tbody"), table = make("table", "tally");
    for (const name of asked.getColumnNames()) {
      const cell = make("th", "", visible(name));
      cell.scope = "col";
      head.append(cell);
    }
    for (const values of lines) {
      const line = make("tr");
      for (const value of values) {
        const cell = make("td", typeof value === "number" ? "num" : "");
        cell.append(isolated(value === null ? "–" : String(value).slice(0, 400)));
        line.append(cell);
      }
      body.append(line);
    }
    top.append(head);
    table.append(top, body);
    byId("sql-answer").replaceChildren(table);
  } finally { asked.free(); }
  byId("sql-said").textContent = `${total.toLocaleString("en")} row${total === 1 ? "" : "s"}` +
    (total > ANSWER_MAX ? `, the first ${ANSWER_MAX} are shown` : "");
}

byId("sql-form").addEventListener("submit", (event) => {
  event.preventDefault();
  answer();
});
byId("sql-query").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    answer();
  }
});
