"""The redacted twin: a second database, physically filtered and masked for one caller, that every rewrite is held to.

A slow, obvious interpreter of the policy, row by row and cell by cell, makes it. It reads the policy with its own
eyes: from datagate it takes the nouns of ``datagate.model`` and nothing else, and no database feature (row security,
views) does its work for it. Whatever a statement answers on the twin is what the same statement, rewritten, must
answer on the real database.

- ``rights``: which rules are in play for the caller, with the placeholders of their predicates as quoted literals
- ``consents``: a data subject's nearest answer
- ``rows``: which rows, and what stands in each cell
- ``masks``: what a mask makes of one value
- ``schema``: the twin's types, tables, keys, views
- ``build``: all of it together
- ``compare``: whether two answers are the same
"""
