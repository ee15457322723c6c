"""SQL goes to a database with parameters: no statement is put together from values."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "windmill").rglob("*.py"))}

# Which argument of each function is the statement; the functions of psycopg2.extras get the cursor first.
SENDERS = {
    "execute": 0, "executemany": 0, "mogrify": 0, "callproc": 0, "copy_expert": 0,
    "execute_values": 1, "execute_batch": 1,
}  # fmt: skip
# Statements that are none of the forms below, and why they hold no values.
ALLOWED = {
    ("windmill/postgres/schema.py", "SCHEMA.read_text('utf-8')"): "schema.sql itself",
    (
        "windmill/postgres/findings.py",
        "statement",
    ): "what `windmill run` shows: constants of its module",
    ("windmill/postgres/facts.py", "statement"): "a named query with others in its gaps, and placeholders",
    ("windmill/postgres/ledger.py", "statement"): "its callers give it named queries",
}
STATEMENT = re.compile(
    r"\b(SELECT\b.+\bFROM|INSERT\s+INTO|UPDATE\b.+\bSET|DELETE\s+FROM|(CREATE|DROP|ALTER)\s+"
    r"(TABLE|DATABASE|ROLE|USER|VIEW|INDEX)|GRANT\b.+\bTO|LISTEN\s|NOTIFY\s)",
    re.DOTALL,
)


def violations(name: str, code: str) -> list[str]:
    """What in this module is or may be a statement made of values."""
    tree = ast.parse(code)
    constants = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    nodes = list(ast.walk(tree))
    sent = [found for node in nodes if (found := statement(node)) is not None]
    dubious = [one for one in sent if not safe(one, constants) and (name, ast.unparse(one)) not in ALLOWED]
    return [ast.unparse(one) for one in (*dubious, *filter(put_together, nodes))]


def statement(node: ast.AST) -> ast.expr | None:
    """The statement that a call sends, if it sends one."""
    if not isinstance(node, ast.Call):
        return None
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    place = SENDERS.get(called)
    return node.args[place] if place is not None and len(node.args) > place else None


def safe(node: ast.expr, constants: set[str]) -> bool:
    """A literal or a constant of the module, a named query, or that with identifiers and named queries."""
    match node:
        case ast.Constant(value=str()):
            return True
        case ast.Name(id=name):
            return name in constants
        case ast.Call(func=ast.Name(id="query" | "composed")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="sql"), attr="SQL"), args=[inner]):
            return safe(inner, constants)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="sql"), attr="Identifier")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Call() as template, attr="format"), args=[], keywords=put):
            composed = ast.unparse(template).startswith("sql.SQL(")
            return composed and safe(template, constants) and all(safe(one.value, set()) for one in put)
    return False


def put_together(node: ast.AST) -> bool:
    """An f-string, a sum, a % or a `.format` over text that reads like a statement."""
    match node:
        case ast.JoinedStr(values=parts):
            return any(isinstance(part, ast.FormattedValue) for part in parts) and reads_like_sql(parts)
        case ast.BinOp(left=left, op=ast.Mod() | ast.Add(), right=right):
            return reads_like_sql([left, right])
        case ast.Call(func=ast.Attribute(value=ast.Constant() as text, attr="format" | "join" | "replace")):
            return reads_like_sql([text])
    return False


def reads_like_sql(parts: list[ast.expr]) -> bool:
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return bool(STATEMENT.search(" ".join(texts)))


@pytest.mark.parametrize("name", MODULES)
def test_no_statement_is_put_together_from_values(name):
    assert violations(name, MODULES[name].read_text("utf-8")) == []


def test_every_exception_is_still_one():
    found = {
        (name, ast.unparse(one))
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (one := statement(node)) is not None
    }
    assert ALLOWED.keys() <= found


@pytest.mark.parametrize(
    "code",
    [
        'cursor.execute(f"SELECT * FROM {table}")',
        'cursor.execute("SELECT * FROM images WHERE image_id = %s" % image)',
        'cursor.execute("DELETE FROM jobs WHERE queue = " + queue)',
        'cursor.execute("DELETE FROM {}".format(table))',
        "cursor.execute(text)",
        'cursor.execute(query("groups") + where)',
        'cursor.execute(query("groups").format(group=group))',
        'cursor.execute(sql.SQL(query("listen")).format(queue=queue))',
        'cursor.execute(sql.SQL(query("listen")).format(queue=sql.SQL(queue)))',
        'cursor.execute(sql.SQL(f"LISTEN {queue}"))',
        'execute_values(cursor, f"INSERT INTO {table} VALUES %s", rows)',
        'statement = f"UPDATE images SET image_group = {group!r}"',
        'statement = "INSERT INTO images VALUES (" + values + ")"',
    ],
)
def test_a_statement_put_together_is_noticed(code):
    assert violations("windmill/postgres/new.py", code)


@pytest.mark.parametrize(
    "code",
    [
        'cursor.execute(query("groups"), {"group": group})',
        '_INSERT = "INSERT INTO t VALUES (%s)"\ncursor.execute(_INSERT, values)',
        'cursor.execute(sql.SQL(query("listen")).format(queue=sql.Identifier(queue)))',
        'log.info(f"{count} rows selected from {table}")',
    ],
)
def test_a_statement_with_parameters_is_left_alone(code):
    assert violations("windmill/postgres/new.py", code) == []
