"""Who may send requests: virtual keys, the budgets of their tenants, and limits on one request.

`file` is tenants.yaml as people write it, `reading` makes `Tenants` of it, which say of every
request who sent it (`identity`) and on which accounts it holds. `users` opens accounts of users.
"""

from runtime.tenants.against_policy import refuse_unknown
from runtime.tenants.identity import Identity, TenantKey
from runtime.tenants.reading import read_tenants
from runtime.tenants.request_limits import RequestLimitError, RequestLimits
from runtime.tenants.tenants import Tenants
from runtime.tenants.users import UserAccounts
from runtime.tenants.virtual_keys import KeyProblem, KeyRefusedError

__all__ = [
    "Identity",
    "KeyProblem",
    "KeyRefusedError",
    "RequestLimitError",
    "RequestLimits",
    "TenantKey",
    "Tenants",
    "UserAccounts",
    "read_tenants",
    "refuse_unknown",
]
