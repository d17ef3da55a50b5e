/* libpq itself: binary results, single rows, pipelines, portals, COPY out, function calls, what a reset leaves. */
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

static void shown(PGresult *r) {
    printf("%s %d %s %s\n", PQresStatus(PQresultStatus(r)), PQntuples(r), PQcmdStatus(r), PQresultErrorMessage(r));
    PQclear(r);
}

int main(void) {
    PGconn *c = PQconnectdb("");
    const char *three[1] = {"3"};
    PGresult *r = PQexecParams(c, "select c_custkey, c_name from customer where c_nationkey = $1 order by 1", 1, 0, three, 0, 0, 1);
    printf("%d %u %d\n", PQstatus(c), PQftype(r, 0), PQfformat(r, 0));
    shown(r);
    PQsendQuery(c, "select 1; select count(*) from customer");
    while ((r = PQgetResult(c))) shown(r);
    PQsendQuery(c, "select * from customer order by 1");
    PQsetSingleRowMode(c);
    int rows = 0, syncs = 0, bytes = 0, length;
    for (; (r = PQgetResult(c)); PQclear(r)) rows++;
    PQenterPipelineMode(c);
    PQsendQueryParams(c, "select count(*) from customer where c_nationkey = $1", 1, 0, three, 0, 0, 0);
    PQsendQueryParams(c, "select * from vault", 0, 0, 0, 0, 0, 0);
    PQsendQueryParams(c, "select 1", 0, 0, 0, 0, 0, 0);
    PQpipelineSync(c);
    PQsendQueryParams(c, "select 2", 0, 0, 0, 0, 0, 0);
    PQsendFlushRequest(c);
    PQpipelineSync(c);
    while (syncs < 2) {
        if (!(r = PQgetResult(c))) continue;
        syncs += PQresultStatus(r) == PGRES_PIPELINE_SYNC;
        shown(r);
    }
    printf("%d %d\n", rows, PQexitPipelineMode(c));
    shown(PQprepare(c, "s", "select $1::int + 1", 0, 0));
    r = PQdescribePrepared(c, "s");
    printf("%d %u\n", PQnparams(r), PQparamtype(r, 0));
    shown(r);
    shown(PQexecPrepared(c, "s", 1, three, 0, 0, 0));
    shown(PQexec(c, "execute s(4)"));
    shown(PQexec(c, "begin"));
    shown(PQexec(c, "declare k cursor for select * from customer"));
    shown(PQdescribePortal(c, "k"));
    shown(PQexec(c, "move 3 in k"));
    shown(PQexec(c, "fetch all in k"));
    shown(PQexec(c, "end"));
    shown(PQexec(c, "copy (select * from nation) to stdout (format binary)"));
    for (char *buffer; (length = PQgetCopyData(c, &buffer, 0)) > 0; PQfreemem(buffer)) bytes += length;
    while ((r = PQgetResult(c))) shown(r);
    int result = 0;
    r = PQfn(c, 1, &result, &length, 1, 0, 0);
    printf("%d %s\n", bytes, PQresStatus(PQresultStatus(r)));
    PQclear(r);
    shown(PQexec(c, ""));
    PQreset(c);
    shown(PQexec(c, "select 1"));
    PQfinish(c);
    return 0;
}
