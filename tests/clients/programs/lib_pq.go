// lib/pq: parameters, prepared statements, errors, transactions.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"github.com/lib/pq"
)

var texts = []string{"select c_phone from customer order by 1 limit 2", "select * from vault", "select id, b, e::text from types_t", "select o_secret from orders"}

func main() {
	if err := told(); err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
}

func told() error {
	db, err := sql.Open("postgres", "")
	if err != nil {
		return err
	}
	defer db.Close()
	by, err := db.Prepare("select c_custkey, c_name, c_acctbal::text from customer where c_nationkey = $1 order by 1")
	if err != nil {
		return err
	}
	for _, key := range []int{3, 4, 11} {
		rows, err := by.Query(key)
		if err != nil {
			return err
		}
		for rows.Next() {
			var key int
			var name, balance string
			if err := rows.Scan(&key, &name, &balance); err != nil {
				return err
			}
			fmt.Println(key, name, balance)
		}
	}
	for _, text := range texts {
		rows, err := db.Query(text)
		if err != nil {
			fmt.Println(text, err.(*pq.Error).Code)
			continue
		}
		count := 0
		for rows.Next() {
			count++
		}
		fmt.Println(text, count)
	}
	tx, err := db.BeginTx(context.Background(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	var counted int
	if err := tx.QueryRow("select count(*) from customer where c_custkey = any($1)", pq.Array([]int{1, 2, 11})).Scan(&counted); err != nil {
		return err
	}
	fmt.Println(counted)
	return tx.Commit()
}
