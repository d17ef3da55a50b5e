// pgjdbc: both query modes, server-side prepared statements, fetch sizes, metadata, several results, errors, COPY.
import java.io.StringWriter;
import java.sql.*;
import java.util.*;

public class Jdbc {
    static void show(ResultSet rows) throws SQLException {
        ResultSetMetaData meta = rows.getMetaData();
        StringBuilder line = new StringBuilder();
        for (int i = 1; i <= meta.getColumnCount(); i++)
            line.append(meta.getColumnLabel(i)).append(' ').append(meta.getColumnTypeName(i)).append("; ");
        System.out.println(line);
        while (rows.next()) {
            List<String> cells = new ArrayList<>();
            for (int i = 1; i <= meta.getColumnCount(); i++) cells.add(String.valueOf(rows.getObject(i)));
            System.out.println(cells);
        }
        rows.close();
    }

    public static void main(String[] ignored) throws Exception {
        Map<String, String> env = System.getenv();
        for (String mode : new String[] {"extended", "simple", "extendedForPrepared", "extendedCacheEverything"}) {
            Properties given = new Properties();
            given.setProperty("user", env.get("PGUSER"));
            given.setProperty("password", env.get("PGPASSWORD"));
            given.setProperty("preferQueryMode", mode);
            given.setProperty("prepareThreshold", "2");
            given.setProperty("ApplicationName", "a tool");
            String url = "jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE");
            try (Connection connection = DriverManager.getConnection(url, given)) {
                System.out.println(mode);
                queries(connection);
                if (mode.equals("extended")) metadata(connection.getMetaData());
            }
        }
    }

    static void queries(Connection connection) throws Exception {
        try (PreparedStatement by = connection.prepareStatement(
                "select c_custkey, c_name, c_acctbal from customer where c_nationkey = ? order by 1")) {
            for (int key : new int[] {3, 4, 11, 3}) {
                by.setInt(1, key);
                show(by.executeQuery());
            }
            System.out.println(by.getParameterMetaData().getParameterTypeName(1));
        }
        for (String text : new String[] {"select c_phone from customer", "select * from vault", "select id, b, e from types_t",
                "select o_secret from orders", "select * from nation where n_nationkey < 3"}) {
            try (Statement statement = connection.createStatement()) {
                show(statement.executeQuery(text));
            } catch (SQLException error) {
                System.out.println(text + ": " + error.getSQLState());
            }
        }
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(4);
            show(statement.executeQuery("select c_custkey from customer order by 1"));
            Savepoint here = connection.setSavepoint();
            try {
                statement.executeQuery("select * from vault");
            } catch (SQLException error) {
                System.out.println(error.getSQLState());
            }
            connection.rollback(here);
            statement.setMaxRows(2);
            show(statement.executeQuery("select n_name from nation order by n_nationkey"));
        }
        connection.commit();
        connection.setAutoCommit(true);
        try (Statement statement = connection.createStatement()) {
            boolean more = statement.execute("select 1 as a; select count(*) from customer");
            while (more) {
                show(statement.getResultSet());
                more = statement.getMoreResults();
            }
        }
        connection.setReadOnly(true);
        connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        System.out.println(connection.isValid(5) + " " + connection.getTransactionIsolation());
        StringWriter out = new StringWriter();
        connection.unwrap(org.postgresql.PGConnection.class).getCopyAPI()
            .copyOut("copy (select n_nationkey, n_name from nation order by 1) to stdout", out);
        System.out.println(out);
    }

    static void metadata(DatabaseMetaData meta) throws SQLException {
        System.out.println(meta.getDatabaseProductName());
        show(meta.getSchemas());
        show(meta.getTables(null, "public", "%", new String[] {"TABLE", "VIEW", "SEQUENCE"}));
        show(meta.getColumns(null, "public", "%", "%"));
        show(meta.getPrimaryKeys(null, "public", "customer"));
        show(meta.getImportedKeys(null, "public", "customer"));
        show(meta.getExportedKeys(null, "public", "nation"));
        show(meta.getIndexInfo(null, "public", "customer", false, true));
        show(meta.getBestRowIdentifier(null, "public", "customer", DatabaseMetaData.bestRowSession, true));
        show(meta.getFunctions(null, "public", "%"));
        show(meta.getProcedures(null, "public", "%"));
        show(meta.getUDTs(null, "public", "%", null));
        show(meta.getTableTypes());
        System.out.println(meta.getMaxColumnNameLength() + " " + meta.getSQLKeywords().length());
    }
}
