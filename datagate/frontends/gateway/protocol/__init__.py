"""The PostgreSQL wire protocol without sockets: bytes in, messages out (PostgreSQL manual, chapter 55).

Law: any bytes in any chunks give messages or a ProtocolViolation; nothing here waits, reads a clock or opens a file.
"""
