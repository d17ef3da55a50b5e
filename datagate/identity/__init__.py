"""Who is calling, by a token: JWTs (RFC 7519, RFC 9068) checked against an issuer's keys (RFC 7517).

Signatures are joserfc's; what may be in a token, and what of it makes a caller, is said here. Needs no gate.
"""

from datagate.identity.keys import KeySource
from datagate.identity.published import JwksFile, JwksUrl
from datagate.identity.verifier import JwtVerifier

__all__ = ["JwksFile", "JwksUrl", "JwtVerifier", "KeySource"]
