"""The programs that people and scripts write mail with: mutt, s-nail, git send-email, Perl's Net::SMTP, nodemailer."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from interop.submission import TOKENS, Submission, run
from servers import program

__all__ = ["git_send_email", "mutt", "net_smtp", "nodemailer", "s_nail"]

HERE = Path(__file__).parent


def header_and_body(it: Submission) -> tuple[bytes, bytes]:
    """Return the fields that a program takes over, each a line, and the body, with LF."""
    header, _, body = it.message.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = re.sub(rb"\n[ \t]+", b" ", header).split(b"\n")
    kept = [line for line in lines if line.startswith((b"From:", b"To:", b"Subject:"))]
    return b"\n".join(kept), body


def quoted(text: str) -> str:
    """Return *text* for a string of mutt's in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def mutt(it: Submission) -> None:
    """Mutt (GnuTLS, GNU SASL): it sends a draft."""
    header, body = header_and_body(it)
    draft, settings, token = it.folder / "draft", it.folder / "muttrc", it.folder / "token"
    draft.write_bytes(header + b"\n\n" + body)
    token.write_text(it.secret)
    user = quote(it.login, safe="")
    url = f"{'smtp' if it.tls == 'starttls' else 'smtps'}://{user}@localhost:{it.port}/"
    settings.write_text(
        f"""\
set smtp_url={quoted(url)}
set smtp_authenticators={quoted(it.mechanism.lower())}
set {"smtp_oauth_refresh_command" if it.mechanism in TOKENS else "smtp_pass"}=\
{quoted(f"cat {token}" if it.mechanism in TOKENS else it.secret)}
set ssl_starttls=yes ssl_force_tls=yes ssl_verify_host=yes ssl_verify_dates=yes
set ssl_ca_certificates_file={quoted(str(it.ca))} certificate_file={quoted(str(it.ca))}
set from={quoted(it.sender)} envelope_from_address={quoted(it.sender)} use_envelope_from=yes
set hostname="client.example" copy=no charset="utf-8" send_charset="utf-8" allow_8bit=yes
set sleep_time=0 postponed="" record="" tmpdir={quoted(str(it.folder))}
"""
    )
    run(
        [program("mutt"), "-n", "-F", str(settings), "-H", str(draft)],
        "authentication failed",
        home=it.folder,
    )


def s_nail(it: Submission) -> None:
    """s-nail (OpenSSL), a mailx; what it calls oauthbearer is XOAUTH2."""
    header, body = header_and_body(it)
    text, settings = it.folder / "text", it.folder / "mailrc"
    text.write_bytes(header + b"\n\n" + body)
    user, secret = quote(it.login, safe=""), quote(it.secret, safe="")
    scheme = "smtp" if it.tls == "starttls" else "smtps"
    method = "oauthbearer" if it.mechanism == "XOAUTH2" else it.mechanism.lower()
    settings.write_text(
        f"""\
set v15-compat
set mta={scheme}://{user}:{secret}@localhost:{it.port}
{f"set smtp-auth={method}" if method else ""}
{"set smtp-use-starttls" if it.tls == "starttls" else ""}
set tls-verify=strict tls-ca-file={it.ca} tls-ca-no-defaults
set from={it.sender} hostname=client.example DEAD={it.folder / "dead.letter"}
set ttycharset=utf-8 sendcharsets=utf-8 mime-encoding=8b sendwait
"""
    )
    run(
        [program("s-nail"), "-:u", "-t"],
        # It does not answer the reasons of a no, and hangs up.
        "SMTP server: 334 ey" if it.mechanism == "XOAUTH2" else "SMTP server: 535",
        stdin=text,
        home=it.folder,
        MAILRC=str(settings),
    )


def git_send_email(it: Submission) -> None:
    """git send-email (Perl): it sends what git format-patch writes."""
    header, body = header_and_body(it)
    patch = it.folder / "0001-a.patch"
    patch.write_bytes(header + b"\n\n" + body)
    git = program("git")
    where = subprocess.run([git, "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    program(f"{where}/git-send-email", "git-email")
    run(
        [
            *(git, "-c", "user.name=Tim", "-c", f"user.email={it.sender}", "send-email"),
            *("--confirm=never", "--suppress-cc=all", "--no-validate", "--no-format-patch"),
            *("--smtp-server=localhost", f"--smtp-server-port={it.port}", "--smtp-domain=client.example"),
            *(f"--smtp-encryption={'tls' if it.tls == 'starttls' else 'ssl'}", f"--smtp-ssl-cert-path={it.ca}"),
            *(f"--smtp-user={it.login}", f"--smtp-pass={it.secret}"),
            *([f"--smtp-auth={it.mechanism}"] if it.mechanism else []),
            *(f"--from=Tim <{it.sender}>", f"--envelope-sender={it.sender}", f"--to={it.recipient}"),
            *("--8bit-encoding=utf-8", "--transfer-encoding=8bit", "--no-thread", str(patch)),
        ],
        "5.7.8 ",
        home=it.folder,
        GIT_CONFIG_NOSYSTEM="1",
    )


def script(it: Submission, command: list[str], refusal: str, **environment: str) -> None:
    """Run a script of ours that takes what to submit as JSON."""
    message = it.write_message(crlf=True)
    path = it.folder / "submission.json"
    path.write_text(
        json.dumps(
            {
                "port": it.port,
                "tls": it.tls,
                "mechanism": it.mechanism,
                "login": it.login,
                "secret": it.secret,
                "is_token": it.mechanism in TOKENS,
                "sender": it.sender,
                "recipient": it.recipient,
                "message": str(message),
                "ca": str(it.ca),
            }
        )
    )
    run(command, refusal, stdin=path, home=it.folder, **environment)


def net_smtp(it: Submission) -> None:
    """Perl's Net::SMTP, with IO::Socket::SSL and Authen::SASL."""
    script(it, [program("perl"), str(HERE / "net_smtp.pl")], "AUTH: 535 ")


def nodemailer(it: Submission) -> None:
    """nodemailer (Node.js)."""
    modules = Path("/usr/share/nodejs")
    if not (modules / "nodemailer").is_dir():
        pytest.skip("nodemailer is missing: apt-get install node-nodemailer")
    # A token that is refused it wants to renew, and cannot.
    refusal = "Can't create new access token" if it.mechanism in TOKENS else "535 "
    script(it, [program("node", "nodejs"), str(HERE / "nodemailer.js")], refusal, NODE_PATH=str(modules))
