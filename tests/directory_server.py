"""A private OpenLDAP (Debian: slapd, ldap-utils) for tests: ldapi, ldap with StartTLS, ldaps, and entries to change."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from servers import Authority, free_ports, wait_for

__all__ = ["ATTRIBUTES", "BASE", "PEOPLE", "SERVICE", "SERVICE_PASSWORD", "Slapd", "find_slapd"]

BASE = "dc=example,dc=org"
PEOPLE = f"ou=people,{BASE}"
SERVICE, SERVICE_PASSWORD = f"cn=gatepost,{BASE}", b"service-pass-1"
ATTRIBUTES = (
    *("Sender", "Disabled", "Label", "NotBefore", "Expires", "Mechanism", "Listener", "Network", "OnlySender"),
    *("Recipient", "Rate", "Sandbox", "MaxBytes", "MaxRecipients", "NullSender"),
)
"""What our own object class in that directory may have, after the word gatepost."""

_ROOT, _ROOT_PASSWORD = f"cn=root,{BASE}", "root-pass-1"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
_ENTRIES = f"""\
dn: {BASE}
objectClass: organization
objectClass: dcObject
o: Example
dc: example

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: {SERVICE}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: gatepost
userPassword: {SERVICE_PASSWORD.decode()}

dn: cn=policy,{BASE}
objectClass: device
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 5
pwdLockoutDuration: 600
pwdMustChange: TRUE
pwdGraceAuthNLimit: 0
"""


def find_slapd() -> str:
    """Return the path of slapd; skip the test where it or its clients are missing."""
    slapd = shutil.which("slapd", path=_PATH)
    if slapd is None:
        pytest.skip("slapd is missing: apt-get install slapd")
    if shutil.which("ldapmodify", path=_PATH) is None:
        pytest.skip("ldapmodify is missing: apt-get install ldap-utils")
    return slapd


class Slapd:
    """A directory in *folder*, whose certificate is of *authority*."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self._program = find_slapd()
        self.folder = folder
        self._socket = folder / "ldapi"
        self.ldapi = "ldapi://" + str(self._socket).replace("/", "%2F")
        self.ldap = self.ldaps = ""
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True)
        kinds = "\n".join(
            f"attributetype ( 1.3.6.1.4.1.55555.1.{number} NAME 'gatepost{name}' EQUALITY caseExactMatch "
            "SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )"
            for number, name in enumerate(ATTRIBUTES, 1)
        )
        may = " $ ".join(f"gatepost{name}" for name in ATTRIBUTES)
        self._configuration = folder / "slapd.conf"
        self._configuration.write_text(
            f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
{kinds}
objectclass ( 1.3.6.1.4.1.55555.2.1 NAME 'gatepostUser' AUXILIARY MAY ( {may} ) )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
pidfile {folder}/slapd.pid
TLSCACertificateFile {authority.ca}
TLSCertificateFile {authority.certificate}
TLSCertificateKeyFile {authority.key}
sizelimit 100
database mdb
suffix "{BASE}"
rootdn "{_ROOT}"
rootpw {_ROOT_PASSWORD}
directory {folder}/data
maxsize 67108864
dbnosync
index uid,mail eq
overlay ppolicy
ppolicy_default "cn=policy,{BASE}"
access to attrs=userPassword by dn.exact="{SERVICE}" search by anonymous auth by * none
access to * by dn.exact="{SERVICE}" read by * none
"""
        )

    def start(self) -> None:
        """Start it, on ports that are free; the first time with what is always there."""
        program = self._program
        if Path("/etc/apparmor.d/usr.sbin.slapd").exists():
            # The profile is for that path, and forbids any other folder.
            program = shutil.copy(program, self.folder / "slapd")
        is_new = not any((self.folder / "data").iterdir())
        for _ in range(10):
            ports = free_ports(2)
            self._socket.unlink(missing_ok=True)
            urls = f"{self.ldapi} ldap://127.0.0.1:{ports[0]} ldaps://127.0.0.1:{ports[1]}"
            with (self.folder / "slapd.log").open("ab") as log:
                process = self.process = subprocess.Popen(
                    [program, "-f", str(self._configuration), "-h", urls, "-d", "0"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            wait_for("slapd", lambda p=process: self._answers() or p.poll() is not None, seconds=60.0)
            # It ends when somebody else was given one of the ports in between.
            if process.poll() is None:
                break
        else:
            raise RuntimeError((self.folder / "slapd.log").read_text())
        self.ldap, self.ldaps = f"ldap://127.0.0.1:{ports[0]}", f"ldaps://127.0.0.1:{ports[1]}"
        if is_new:
            self.change(_ENTRIES, "ldapadd")

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def change(self, ldif: str, tool: str = "ldapmodify") -> None:
        """Change entries as *ldif* says."""
        self._run(tool, stdin=ldif)

    def add(
        self,
        uid: str,
        password: bytes | None = None,
        *,
        facts: dict[str, Sequence[str]] | None = None,
        name: str = "",
        classes: Sequence[str] = (),
    ) -> str:
        """Add a person; return the name of the entry."""
        dn = f"uid={name or uid},{PEOPLE}"
        lines = [f"dn:: {base64.b64encode(dn.encode()).decode()}"]
        lines += [f"objectClass: {each}" for each in ("inetOrgPerson", "gatepostUser", *classes)]
        lines += [f"uid:: {base64.b64encode(uid.encode()).decode()}", "cn: person", "sn: person"]
        if password is not None:
            lines.append(f"userPassword:: {base64.b64encode(password).decode()}")
        for key, values in (facts or {}).items():
            lines += [f"{key}:: {base64.b64encode(each.encode()).decode()}" for each in values]
        self.change("\n".join(lines) + "\n", "ldapadd")
        return dn

    def put(self, dn: str, attribute: str, *values: str) -> None:
        """Give an attribute of an entry those values; none removes it."""
        lines = [f"{attribute}:: {base64.b64encode(each.encode()).decode()}\n" for each in values]
        self.change(f"dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{''.join(lines)}")

    def remove(self, dn: str) -> None:
        """Remove an entry."""
        self.change(f"dn: {dn}\nchangetype: delete\n")

    def empty(self) -> None:
        """Remove all people."""
        found = self._run("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", PEOPLE, "-s", "one", "1.1")
        lines = [line for line in found.splitlines() if line.startswith("dn:")]
        if lines:
            self.change("\n".join(f"{line}\nchangetype: delete\n" for line in lines))

    def _answers(self) -> bool:
        return (
            self._socket.exists()
            and not subprocess.run(
                [*self._client("ldapsearch"), "-s", "base", "-b", "", "1.1"], capture_output=True, check=False
            ).returncode
        )

    def _run(self, tool: str, *options: str, stdin: str = "") -> str:
        done = subprocess.run([*self._client(tool), *options], input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _client(self, tool: str) -> list[str]:
        path = shutil.which(tool, path=_PATH)
        assert path is not None
        return [path, "-x", "-H", self.ldapi, "-D", _ROOT, "-w", _ROOT_PASSWORD]
