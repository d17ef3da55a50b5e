"""The gateway: the PostgreSQL wire protocol, for any client, with every statement on the road.

Law: nothing goes upstream but what `statements` made of an admitted text, and nothing of the server's words comes back
that `relay` has not looked at; rows pass as they are.
"""
