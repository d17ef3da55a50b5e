"""EXPLAIN for callers: the plan's shape, without conditions, row counts, costs, and relations that were not named."""

from __future__ import annotations

EXPLAINED = "explained(text, text[], text, boolean)"

# A node shows what it is; a relation only if the caller's decisions are about it. All else is left out by not being
# listed: filters and index conditions hold policy values, counts and costs tell of hidden rows.
_NODE = """
CREATE OR REPLACE FUNCTION datagate.plan_node(node jsonb, named text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    shown jsonb := '{}';
    key text;
    relation text := (node->>'Schema') || '.' || (node->>'Relation Name');
BEGIN
    IF relation IS NOT NULL AND relation <> ALL (named) THEN
        RETURN jsonb_build_object('Node Type', 'Guard');
    END IF;
    FOREACH key IN ARRAY ARRAY['Node Type', 'Operation', 'Parallel Aware', 'Join Type', 'Strategy', 'Partial Mode',
        'Parent Relationship', 'Scan Direction', 'Command', 'Schema', 'Relation Name', 'Actual Rows', 'Actual Loops',
        'Actual Total Time'] LOOP
        IF node ? key THEN
            shown := shown || jsonb_build_object(key, node->key);
        END IF;
    END LOOP;
    IF node ? 'Plans' THEN
        shown := shown || jsonb_build_object('Plans', (
            SELECT jsonb_agg(datagate.plan_node(each, named) ORDER BY place)
            FROM jsonb_array_elements(node->'Plans') WITH ORDINALITY AS p (each, place)));
    END IF;
    RETURN shown;
END
$$
"""

_LINES = """
CREATE OR REPLACE FUNCTION datagate.plan_lines(node jsonb, depth integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    line text := concat_ws(' ', node->>'Join Type', node->>'Node Type',
        'on ' || (node->>'Schema') || '.' || (node->>'Relation Name'),
        '(actual rows=' || (node->>'Actual Rows') || ' loops=' || (node->>'Actual Loops')
            || ' time=' || (node->>'Actual Total Time') || ')');
    below jsonb;
BEGIN
    RETURN NEXT CASE WHEN depth = 0 THEN line ELSE repeat(' ', 6 * depth - 4) || '->  ' || line END;
    FOR below IN SELECT each FROM jsonb_array_elements(node->'Plans') WITH ORDINALITY AS p (each, place) ORDER BY place
    LOOP
        RETURN QUERY SELECT datagate.plan_lines(below, depth + 1);
    END LOOP;
END
$$
"""

_EXPLAINED = """
CREATE OR REPLACE FUNCTION datagate.explained(query text, named text[], format text, runs boolean)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    plan json;
    shown jsonb;
BEGIN
    EXECUTE pg_catalog.concat('EXPLAIN (FORMAT JSON, VERBOSE, COSTS false',
        CASE WHEN runs THEN ', ANALYZE, BUFFERS false' END, ') ', query) INTO plan;
    shown := datagate.plan_node((plan::pg_catalog.jsonb)->0->'Plan', named);
    IF format OPERATOR(pg_catalog.=) 'json' THEN
        RETURN NEXT pg_catalog.jsonb_pretty(
            pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('Plan', shown)));
    ELSE
        RETURN QUERY SELECT datagate.plan_lines(shown, 0);
    END IF;
END
$$
"""

FUNCTIONS = (_NODE, _LINES, _EXPLAINED)
SIGNATURES = ("plan_node(jsonb, text[])", "plan_lines(jsonb, integer)", EXPLAINED)
"""What the role that runs rewritten statements may call."""
