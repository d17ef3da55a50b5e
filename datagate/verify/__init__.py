"""The trusted core: may this text be sent in the place of that one?

One small verifier per engine. It imports the nouns of ``model``, ``errors`` and the engine's own parser, and nothing of
the rewriter: the rewriter may be wrong in any way, and still no text passes that reads a relation without its guard, or
means something else than the caller's text. For PostgreSQL start at :mod:`datagate.verify.postgres`.
"""
