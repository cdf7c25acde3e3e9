# ruff: noqa: E501 - a shape is read as one line
r"""The shapes of secrets: what each looks like, and what of it may stay.

Three kinds of rules. A secret is known by its name (`PGPASSWORD=…`, `"accessToken": "…"`), by its own form (`ghp_…`, a
private key), or by its place (a header, a flag, a URL). Names and forms are general; no rule knows one product's text.

In each pattern the groups whose names begin with `keep` stay, and everything else of the match is replaced. A pattern
is only tried on text that contains one of its hints (in lower case). Every repetition is bounded or cannot overlap with
its neighbour, so that no text takes long.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

HIDDEN = "***"

# Names. The first may stand at the end of a longer word (PGPASSWORD, accessToken); the second stand alone, after a
# separator, or after a hump of camelCase, because they are parts of ordinary words.
_ANYWHERE = (
    r"password|passwd|passphrase|passwort|passcode|contrase(?:[ñn]|\\u00f1)a|secret[_.-]?(?:string|binary)|secret|token|credentials?|apikey"
    r"|(?:api|access|account|private|signing|routing|auth|encryption|decryption|master|shared|service|integration"
    r"|license|storage|client|secret|hmac|cipher|deploy|webhook|ssh|consumer|subscription|write|admin|app|application|instrumentation)[_. -]?key"
    r"|requirepass|masterauth|connection[_.-]?string|kennwort|mot[ _-]de[ _-]passe|парол[ьяю]|\\u043f\\u0430\\u0440\\u043e\\u043b\\u044c"
    r"|(?:verification|recovery|backup)[_. -]?code|(?:mfa|pin|one[_-]?time)[_. -]?code|c(?:[óo]|\\u00f3)digo de (?:verificaci|recuperaci)(?:[óo]|\\u00f3)n"
    r"|snmp[_. -]?community"
)
_ALONE = r"pass|pwd|pw|psw|clave|creds?|jwt|otp|dsn|sas|passwords|credentials|secrets|auth|session[_.-]?id|[jp]?(?:hp)?sess(?:ion)?id|sid|csrf|senha|(?<=[_.-])salt"
# Names that no prose uses before a colon: words for passwords, and compounds (webhookSecret, api_token).
_COMPOUND = r"(?:(?<=[\w-][_.-])|(?-i:(?<=[a-z0-9])(?=[A-Z])))(?:token|secret|credential|pass|pwd)"
_STRONG = (
    rf"password|passwd|passphrase|passwort|passcode|contrase(?:[ñn]|\\u00f1)a|mysql_pwd|kennwort|mot[ _-]de[ _-]passe|парол[ьяю]|\\u043f\\u0430\\u0440\\u043e\\u043b\\u044c|{_COMPOUND}"
    r"|(?:verification|recovery|backup)[_. -]?code|c(?:[óo]|\\u00f3)digo de (?:verificaci|recuperaci)(?:[óo]|\\u00f3)n"
    r"|(?:api|access|account|private|signing|auth|encryption|master|secret|client|webhook)(?:[_-]|(?-i:(?=K)))key"
)
_ENDING = r"(?:[_.-](?:base64|b64|prod(?:uction)?|staging|dev|test|old|new|current|previous|primary|secondary|backup|raw|text|plain|value|string|main|ro|rw|\d{1,3})|[_.-]?key(?:[_.-]?base)?|[_.-]?(?:base|salt|hash)|\d{1,3}){0,2}"
_AFTER_HUMP = r"(?:(?<![A-Za-z])|(?-i:(?<=[a-z0-9])(?=[A-Z])))"
_NAME = rf"(?:(?:{_ANYWHERE})|{_AFTER_HUMP}(?:{_ALONE})){_ENDING}"
# A name without the words that alone say little after a colon in prose.
_CLEAR = rf"(?:(?:{_ANYWHERE}){_ENDING})"

NAMED = re.compile(rf"(?:(?:{_ANYWHERE})|{_AFTER_HUMP}(?:{_ALONE})){_ENDING}$", re.IGNORECASE)

# What stands where a secret would, and is none: a reference to one, or a word about it.
_REFERENCE = (
    r"(?![\[{(][\"'\\]|/(?:[\w.-]{1,60}/?){1,9}(?:\s|$)|[*•x]{3,}(?:\W|$)|<[^<>\n]{0,200}>|\$\{|\$\(|\{\{|\$[A-Za-z_]\w*(?:\W|$)|%\(|[A-Za-z_][\w.]*[(\[]"
    r"|(?:none|null|nil|undefined|true|false|yes|no|required|optional|missing|invalid|incorrect|expired|wrong|unset"
    r"|empty|redacted|hidden|masked|omitted|unchanged|changed|caducad[oa]|incorrect[oa]|bearer|basic|rotated|revoked"
    r"|string|str|bytes|not|is|was|has|must|for|from|at|and|or|found|failed|denied|rejected|accepted|ok|refreshed"
    r"|\d+ ?bytes)\b(?![-_=]))"
)
_SEPARATED = (
    r"\s{0,8}(?:=>|->|:=|=(?!=)|:(?!:))\s{0,8}(?:\[\s{0,8}|\{\s{0,8}\\{0,8}[\"']\w{1,20}\\{0,8}[\"']\s{0,8}:\s{0,8})?"
)
_SPACES = r"(?:\s|\\{1,4}[tn]){0,8}"  # also as JSON writes them
_OF_WHOM = r"(?:[ \t]+(?:for|of|de|para|del)[ \t]+(?:(?:the|el|la)[ \t]+)?(?:(?:user|account|usuario|cuenta)[ \t]+)?\S{1,60}|[ \t]{0,4}\([^()\n]{0,60}\))?"
_YAML_PROPERTIES = r"(?:[&!][\w!./-]{0,60}[ \t]{1,4}){0,2}"  # an anchor and a tag
_WORD = r"(?:[^\s\"',;&|<>\\]|[,;&](?!\s|$|[\w.-]{1,60}=)|[\"'](?=\w))"
_CONTINUED = r"(?:\s{1,8}|\s{0,8}\\\r?\n\s{0,8})"
_SINCE_LINE = r"(?m:^)[ \t>|+-]{0,80}(?:- )?"
_LINE_WRAP = r"(?:\\?\r?\n[ \t]{0,40}[\w+/=.-]{16,200}(?=\s|$))*"


@dataclass(frozen=True, slots=True)
class Shape:
    """One rule. `hints`: parts of which a text must contain one, in lower case; empty if it is always tried."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Tail:
    """A rule of what follows a name, and, if it matters, of what is `before` it on its line."""

    pattern: re.Pattern[str]
    names: re.Pattern[str]
    before: re.Pattern[str] | None


def _shape(hints: str, pattern: str, flags: re.RegexFlag = re.IGNORECASE) -> Shape:
    return Shape(tuple(hints.split()), re.compile(pattern, flags))


# Names, matched in lower case; which kind each is, is looked at where it was matched.
FIND_NAME = re.compile(rf"(?:{_ANYWHERE}|{_ALONE})")
ANY = re.compile(_NAME, re.IGNORECASE)
CLEAR = re.compile(_CLEAR, re.IGNORECASE)
STRONG = re.compile(rf"(?:{_STRONG}){_ENDING}", re.IGNORECASE)
_LINE = r"(?m:^)[ \t>|+-]{0,80}(?:- )?(?:export )?[\w.\"'-]{0,60}"
_FLAG = r"(?<![\w-])--?[\w-]{0,60}"


def _tail(pattern: str, names: re.Pattern[str] = ANY, before: str | None = None) -> Tail:
    return Tail(
        re.compile(pattern, re.IGNORECASE),
        names,
        re.compile(rf"(?:{before})\Z", re.IGNORECASE) if before else None,
    )


BY_PLACE = (
    # Blocks and files.
    _shape("-----begin", r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)", re.DOTALL),
    # Headers.
    _shape("authorization", r"(?P<keep>authorization\\{0,8}[\"']?\s{0,4}[:=]\s{0,4}[\[{(]?\\{0,8}[\"']?(?:digest|aws4-[\w-]{1,30}|oauth|hawk|sharedkey\w{0,10})\s+)[^\r\n]{1,4000}"),
    _shape("authorization", r"(?P<keep>authorization\\{0,8}[\"']?\s{0,4}[:=]\s{0,4}[\[{(]?\\{0,8}[\"']?(?:(?:bearer|basic|token|apikey|api-key|negotiate|ntlm|hmac|ssws|splunk|genie-?key|key)\s+))[^\s\"'\\\])}][^\"'\r\n\\\])}]{0,4000}"),
    _shape("authorization", r"(?P<keep>authorization\\{0,8}[\"']?\s{0,4}[:=]\s{0,4}[\[{(]?\\{0,8}[\"']?)(?=[^\s\"']{0,200}\d)[^\s\"',\\\])}]{8,4000}"),
    _shape("bearer basic", r"(?P<keep>\b(?:Bearer|Basic)\s+)[\w.~+/=-]{8,}"),
    _shape("cookie", r"(?P<keep>\b(?:set-)?cookie\\{0,8}[\"']?\s{0,4}[:=]\s{0,4}[\[]?\\{0,8}[\"']?)(?=[^=;\s\"']{1,200}=)[^\"'\r\n\\]{3,8000}"),
    _shape("path= httponly samesite max-age=", r"(?P<keep>(?<![\w.-])[\w.-]{1,60}=)[^\s;,\"'=]{4,4000}={0,2}(?=;\s{0,4}(?:path|max-age|domain|expires|samesite)=|;\s{0,4}(?:httponly|secure)\b)"),
    _shape("x- apikey api-key", r"(?P<keep>\b(?:x-[\w-]{0,40}(?:key|token|secret|signature|auth|password)[\w-]{0,10}|api-?key)\\{0,8}[\"']?\s{0,4}[:=]\s{0,4}\\{0,8}[\"']?)" + _REFERENCE + r"[^\s\"',;&|\\]{6,}"),
    # Everything below `secrets:` or `stringData:`, what makes a Secret, and a value in front of its name.
    _shape("secrets: stringdata: credentials:", r"(?P<keep>(?m:^)(?P<indent>[ \t+-]{0,80})(?:secrets|stringData|credentials):[ \t]{0,4})(?=\r?\n[ \t+-]{1,80}[\w.-]{1,100}:[ \t]{1,4}(?![\[{<]))(?:\r?\n(?P=indent)[ \t]{1,80}[^\n]{1,2000}){1,100}"),
    _shape("--from-literal", r"(?P<keep>--from-literal(?:\s{1,4}|=)[\"']?[\w.-]{1,100}=)[^\s\"']{1,2000}"),
    _shape("secret credentials", rf"(?P<keep>\b(?:secrets?|credentials)[.][\w.]{{1,80}}=){_REFERENCE}{_WORD}{{1,400}}"),
    _shape('"value', rf"(?P<keep>\"value\\{{0,8}}\"\s{{0,8}}:\s{{0,8}}\\{{0,8}}\"){_REFERENCE}[^\"]{{1,4000}}?(?P<keep2>\\{{0,8}}\"\s{{0,8}},\s{{0,40}}\\{{0,8}}\"(?:name|key)\\{{0,8}}\"\s{{0,8}}:\s{{0,8}}\\{{0,8}}\"[^\"\n]{{0,100}}?{_NAME}\\{{0,8}}\")"),
    # URLs.
    _shape("://", r"(?P<keep>\w://[^\s:/@\"'<>]{0,200}:)(?!\d{1,5}/)[^\s\"'<>]{1,300}(?P<keep2>@[\w.\[-])", re.NOFLAG),
    _shape("://", r"(?P<keep>\w://)(?=[^\s:/@]{0,200}\d)[\w.~%-]{16,200}(?P<keep2>@[\w.\[-])", re.NOFLAG),
    _shape("hooks. webhook spaces/", r"(?P<keep>https://(?:hooks\.slack\.com/(?:services|workflows|triggers)?/?|(?:\w+\.)?discord(?:app)?\.com/api/webhooks/|[\w.-]+\.webhook\.office\.com/|outlook\.office\.com/webhook/|hooks\.zapier\.com/hooks/|chat\.googleapis\.com/v1/spaces/)\w{0,20}/?)[\w/@-]{8,400}", re.NOFLAG),
    _shape("= %3d", r"(?P<keep>[?&;](?:amp;)?(?:x-(?:amz|goog|oss|cos|ms)-(?:signature|security-token|credential)|sig|signature|awsaccesskeyid|key|auth|code|access_token|id_token|refresh_token|hapikey|client_secret|ticket)(?:=|%3D))[^\s&\"'<>#]{8,4000}"),
    _shape("%3d", rf"(?P<keep>{_NAME}%(?:25)?3D)(?:(?!%(?:25)?26)[^\s&\"'<>#]){{1,4000}}"),
    _shape("/", r"(?P<keep>/(?:reset|verify|confirm|activate|invite|magic|invitation|unsubscribe)[\w-]{0,20}/)(?=[\w.-]{0,200}\d)[\w.-]{20,400}"),
    _shape("@tcp( @tcp6( @unix(", r"(?P<keep>(?<![\w:/])[\w.-]{1,60}:)[^\s@\"']{1,200}(?P<keep2>@(?:tcp6?|unix)\()", re.NOFLAG),  # MySQL's in Go
    # Commands.
    _shape("mysql mariadb", r"(?P<keep>\b(?:mysql\w*|mariadb\w*)\b[^\n|;]{0,200}?\s-p)[^\s\"']{1,200}", re.NOFLAG),
    _shape("sshpass mongo docker podman registry oras crane skopeo", r"(?P<keep>\b(?:sshpass|mongo\w{0,10}|(?:docker|podman|helm registry|oras|crane|skopeo)\s+login)\b[^\n|;]{0,200}?\s-p(?:\s+|=)?[\"']?)[^\s\"'-][^\s\"']{0,200}", re.NOFLAG),
    _shape("ldap redis-cli ipmitool zip snmp openssl", r"(?P<keep>\b(?:ldap\w+\b[^\n|;]{0,200}?\s-w|redis-cli\b[^\n|;]{0,200}?\s-a|(?:ipmitool|zip|unzip)\b[^\n|;]{0,200}?\s-P|snmp\w+\b[^\n|;]{0,200}?\s-c|openssl\b[^\n|;]{0,200}?\s-[kK])(?:\s+|=)[\"']?)[^\s\"'-][^\s\"']{0,200}", re.NOFLAG),
    _shape("/user:", r"(?P<keep>/user:[^\s\"']{1,100}\s+)[^\s\"'/][^\s\"']{0,200}"),
    _shape("htpasswd", r"(?P<keep>\bhtpasswd\s+-\w{0,6}b\w{0,6}\s+\S{1,200}\s+\S{1,100}\s+)\S{1,200}", re.NOFLAG),
    _shape("-u --user --proxy-user", r"(?P<keep>(?:^|\s)(?:-u|--user|--proxy-user)(?:\s{1,4}|=)[\"']?[^\s:\"'/]{1,100}:)[^\s\"']{1,200}", re.NOFLAG | re.MULTILINE),
    _shape("setx env arg", rf"(?P<keep>\b(?-i:setx|ENV|ARG)[ \t]+\w{{0,60}}?{_NAME}[ \t]+\\{{0,8}}[\"']?){_WORD}{{1,400}}"),
    _shape("pass:", r"(?P<keep>-pass(?:in|out)?\s+pass:)[^\s\"']{1,200}", re.NOFLAG),
    _shape("auth requirepass masterauth", r"(?P<keep>(?:\bAUTH|\"AUTH\"|requirepass|masterauth)\s+[\"']?)(?=[^\s\"']{0,200}\d)[^\s\"']{4,200}", re.NOFLAG),
    _shape("auth", r"(?P<keep>\bAUTH (?:PLAIN|LOGIN) )[\w+/=]{8,}"),
    _shape("identified password", r"(?P<keep>\b(?:identified\s+(?:with\s+\S{1,60}\s+)?(?:by|as)(?:\s+password)?\s+|(?:with\s+)?password\s+|password\s{0,4}\(\s{0,4})(?P<q>\\{0,8}[\"'`]))[^\"'`\n\\]{1,400}(?P<keep2>(?P=q))"),
    _shape("login account", r"(?P<keep>\b(?:login|account)\s{1,40}\S{1,200}\s{1,40}password\s{1,40})\S{1,200}"),  # .netrc
    _shape("mnemonic phrase", r"(?P<keep>\b(?:mnemonic|(?:seed|recovery)[_ -]?phrase)\b\W{1,6})[a-z]{3,8}(?:[ \t]+[a-z]{3,8}){11,23}"),
    _shape("password", r"(?P<keep>\bpassword\s+)(?=[^\s\"']{0,100}\d)(?=[^\s\"']{0,100}[A-Za-z])[^\s\"':=,;()`]{6,100}(?=[\s\"'`)]|$)"),
    _shape(":", r"(?P<keep>(?<![\w:./*-])[\w.*-]{1,200}:(?:\d{2,5}|\*):[\w*-]{1,100}:[\w*.-]{1,100}:)[^\s:\"']{1,200}(?=[\s\"'`)]|$)", re.NOFLAG),  # .pgpass
    _shape("$", r"\$(?:1|2[abxy]?|5|6|7|y|apr1|argon2\w{0,3}|pbkdf2\S{0,10}|scrypt)\$[\w./$=,+-]{8,300}", re.NOFLAG),  # crypt(3)
)  # fmt: skip

BY_FORM = (
    _shape("ls0tls1crudjti", r"LS0tLS1CRUdJTi[\w+/=]{8,}" + _LINE_WRAP, re.NOFLAG),  # "-----BEGIN" in Base64
    _shape("eyj", r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*" + _LINE_WRAP, re.NOFLAG),  # a JSON web token
    _shape("eyj ewog", r"(?<![\w-])(?:eyJ|ewog)[\w+/=-]{20,}" + _LINE_WRAP, re.NOFLAG),  # a JSON object in Base64
    _shape("xox xapp- xwfp-", r"\bxox[a-z](?:\.xox[a-z])?-[\w-]{6,}|\b(?:xapp|xwfp)-[\w-]{6,}", re.NOFLAG),
    _shape("gh github_pat_", r"\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}", re.NOFLAG),
    _shape("akia asia abia acca a3t", r"\b(?:AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{12,16}\b", re.NOFLAG),
    _shape("fwogzxivyxdz iqojb3jpz2lu", r"\b(?:FwoGZXIvYXdz|IQoJb3JpZ2lu)[\w+/=]{20,}" + _LINE_WRAP, re.NOFLAG),
    _shape("hvs. hvb. hvr. s.", r"\bhv[sbr]\.[\w-]{16,}|(?<![\w.])s\.(?=\w*\d)[A-Za-z0-9]{24}\b", re.NOFLAG),
    _shape("_live_ _test_ whsec_", r"\b[sr]k_(?:live|test)_\w{10,}|\bwhsec_\w{16,}", re.NOFLAG),
    _shape("sk-", r"\bsk-(?:[a-z]{2,12}\d{0,2}-)*(?=[\w-]{0,400}\d)[\w-]{20,}", re.NOFLAG),
    _shape("aiza ya29. gocspx-", r"\bAIza[\w-]{30,}|\bya29\.[\w-]{20,}|\bGOCSPX-[\w-]{20,}", re.NOFLAG),
    # Vendors put a prefix, an underscore or a hyphen, and a long random part.
    _shape(
        "glpat- glrt- glptt- gldt- glcbt- glft- glsoat- glagent- glimt- gloas- npm_ pypi- do shp hf_ lin_ fig dckr_ gls"
        " glc_ dapi sntry rubygems_ gsk_ r8_ pscale_ nrak- pmak- xkeysib- atatt atctt atbb ops_ age-secret ntn_ secret_"
        " sq0 eaaa key- sl.",
        r"\bgl(?:pat|rt|ptt|dt|cbt|ft|soat|agent|imt|oas)-[\w.-]{16,}|\bnpm_\w{20,}|\bpypi-[\w-]{16,}|\bdo[opr]_v1_\w{20,}"
        r"|\bshp(?:at|ss|ca|pa)_\w{16,}|\bhf_\w{20,}|\blin_(?:api|oauth)_\w{16,}|\bfig[duo]_[\w-]{16,}|\bdckr_\w{2,4}_[\w-]{16,}"
        r"|\bgl(?:sa|c)_[\w=+/]{16,}|\bdapi[0-9a-f]{32}\S{0,4}|\bsntry[sua]_[\w+/=-]{16,}|\brubygems_\w{16,}|\bgsk_\w{20,}"
        r"|\br8_\w{20,}|\bpscale_\w{2,8}_[\w.-]{16,}|\bNRAK-\w{20,}|\bPMAK-[\w-]{20,}|\bxkeysib-[\w-]{20,}"
        r"|\bAT(?:ATT|CTT|BB)[\w=-]{16,}|\bops_eyJ[\w+/=-]{16,}|\bAGE-SECRET-KEY-1\w{20,}|\bntn_\w{20,}|\bsecret_\w{32,}"
        r"|\bsq0(?:csp|atp|idp)-[\w-]{16,}|\bEAAA\w[\w-]{40,}|\bkey-[0-9a-f]{32}\b|\bsl\.[\w-]{60,}",
        re.NOFLAG,
    ),
    _shape("sg.", r"\bSG\.[\w-]{8,}\.[\w-]{8,}", re.NOFLAG),
    _shape(".atlasv1.", r"\b\w{10,20}\.atlasv1\.[\w-]{20,}", re.NOFLAG),
    _shape("8q~", r"[\w~.-]{3}8Q~[\w~.-]{20,}", re.NOFLAG),  # Microsoft Entra
    _shape(":aa", r"\b\d{8,10}:AA[\w-]{30,}", re.NOFLAG),  # a Telegram bot
    _shape("-us", r"\b[0-9a-f]{32}-us\d{1,2}\b", re.NOFLAG),
    _shape("sk", r"\bSK[0-9a-f]{32}\b", re.NOFLAG),
    _shape(".", r"\b[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,40}\b", re.NOFLAG),  # a Discord bot
)  # fmt: skip

# What follows a name, up to the end of the secret.
BY_NAME = (
    # name = "value", "name": "value", \\"name\\": \\"value\\", 'name' => 'value'
    _tail(rf"(?P<keep>\\{{0,8}}[\"']?\]?{_SEPARATED}(?P<b>\\{{1,8}}[\"'])){_REFERENCE}[^\n]{{1,4000}}?(?P<keep2>(?<!\\)(?P=b))"),
    _tail(rf"(?P<keep>\\{{0,8}}[\"']?\]?{_SEPARATED}[bBfFrRuU@$]?\"){_REFERENCE}(?:\\.|[^\"\\]){{1,4000}}(?P<keep2>\"|\Z)"),
    _tail(rf"(?P<keep>[\"']?\]?{_SEPARATED}[bBfFrRuU]?'){_REFERENCE}(?:\\.|[^'\\]){{1,4000}}(?P<keep2>'|\Z)"),
    _tail(rf"(?P<keep>{_SEPARATED}`){_REFERENCE}[^`\n]{{1,400}}(?P<keep2>`)"),
    # An argument behind a flag.
    _tail(r"(?P<keep>\\{0,8}[\"']\s{0,8},\s{0,8}\\{0,8}[\"'])[^\"'\n\\]{1,400}(?P<keep2>\\{0,8}[\"'])", before=_FLAG),
    _tail(rf"(?P<keep>(?:{_CONTINUED}|=)\\{{0,4}}[\"']?)(?!--?\w){_REFERENCE}(?:(?<=[\"'])[^\"'\n]{{1,400}}|{_WORD}{{1,400}})", before=_FLAG),
    _tail(rf"(?P<keep>[ \t]{{0,4}},[ \t]{{1,4}})(?!--?\w){_REFERENCE}[^\s\"',\]]{{1,400}}", before=rf"\[[^\]\n]{{0,120}}{_FLAG}"),
    # A YAML block (`|`, `>`), or a value on the next line.
    _tail(r"(?P<keep>[\"']?:[ \t]{1,4}[|>][+-]?\d?[ \t]{0,4})(?:\r?\n[ \t+-]{1,40}\S[^\n]{0,2000}){1,100}", before=_LINE),
    _tail(rf"(?P<keep>[\"']?:[ \t]{{0,4}}\r?\n[ \t+]{{1,40}}){_REFERENCE}(?!-)[^\s:]{{4,400}}(?=[ \t]*(?:\r?\n|\Z))", STRONG),
    _tail(rf"(?P<keep>=\\\r?\n[ \t]{{0,40}}){_WORD}{{1,400}}"),
    # `;`-separated pairs, where values may hold spaces.
    _tail(r"(?P<keep>[ \t]{0,4}=[ \t]{0,4})(?![\"'])[^;=\n\"'<>]{1,200}=*(?=;[ \t]{0,4}[A-Za-z][\w ]{0,40}=)"),
    _tail(r"(?P<keep>[ \t]{0,4}=[ \t]{0,4})(?![\"'])[^;\n\"'<>]{1,200}", before=r";[ \t]{0,4}[\w. -]{0,40}"),
    # `name = several words`, as in an INI file; `name: several words`, indented as in YAML.
    _tail(rf"(?P<keep>[ \t]+=[ \t]+){_REFERENCE}[^\s\"'][^\n;&|]{{0,400}}", STRONG, before=_LINE),
    _tail(rf"(?P<keep>[\"']?:[ \t]{{1,4}}{_YAML_PROPERTIES}){_REFERENCE}[^\s\"'|>&*!][^\n.,;!?()]{{0,120}}(?=[ \t]*(?:\r?\n|\Z))", STRONG, before=r"(?m:^)[ \t+-]{2,80}[\w.-]{0,60}"),
    # name=value
    _tail(rf"(?P<keep>[\"']?\s{{0,4}}(?:=>|->|:=|=(?!=))\s{{0,4}}){_REFERENCE}{_WORD}{{1,4000}}{_LINE_WRAP}"),
    # name: value. Prose often follows a colon, so a word alone counts only where no sentence goes on behind it.
    _tail(rf"(?P<keep>\\{{0,8}}[\"']?:{_SPACES}[\"']?){_REFERENCE}(?=[^\s\"']{{0,400}}\d)(?!/[\w.-]{{1,60}}/)(?!https?://){_WORD}{{6,4000}}{_LINE_WRAP}"),
    _tail(rf"(?P<keep>\\{{0,8}}[\"']?:{_SPACES}[\"']?){_REFERENCE}(?!/[\w.-]{{1,60}}/)(?!https?://){_WORD}{{20,4000}}{_LINE_WRAP}", CLEAR),
    _tail(rf"(?P<keep>{_OF_WHOM}[\"']?:[ \t]{{0,20}}{_YAML_PROPERTIES}){_REFERENCE}(?=\S{{0,200}}[\d!#$%^*_+~@]){_WORD}{{1,400}}", STRONG),
    _tail(rf"(?P<keep>{_OF_WHOM}[\"']?:[ \t]{{0,20}}{_YAML_PROPERTIES}){_REFERENCE}{_WORD}{{3,400}}(?=[ \t]*(?:\Z|[\n\r}}\]\"')`|;,]|\s[\w.-]{{1,40}}[:=]))", STRONG),
    _tail(rf"(?P<keep>[\"']?:[ \t]{{1,40}}{_YAML_PROPERTIES}){_REFERENCE}(?!/[\w.-]{{1,60}}/){_WORD}{{6,400}}(?=[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z))", CLEAR, before=_LINE),
    # "the password is …", "token … is invalid"
    _tail(rf"(?P<keep>{_OF_WHOM}[ \t]+(?:is|es|era|was|now|to)[ \t]+(?:now[ \t]+)?[\"'`]?){_REFERENCE}(?=[^\s\"'`]{{0,200}}\d)[^\s\"'`,;]{{4,400}}", CLEAR),
    _tail(rf"(?P<keep>{_OF_WHOM}[ \t]+(?:is|es|era|was|to)[ \t]+(?P<q>[\"'`]))[^\"'`\n]{{1,400}}(?P<keep2>(?P=q))", CLEAR),
    _tail(r"(?P<keep>[ \t]+(?P<q>[\"'`]))(?=[^\s\"'`]{0,200}\d)(?=[^\s\"'`]{0,200}[A-Za-z])[\w.+/=]{6,4000}(?P<keep2>(?P=q)(?=[\s,.;:)]|\Z))", CLEAR),
    _tail(r"(?P<keep>[ \t]+)(?![\w.-]{1,60}=(?!=|\s|\Z))(?=[^\s\"'`]{0,200}\d)(?=[^\s\"'`]{0,200}[A-Za-z])[\w.+/=]{8,4000}(?=[\s,.;:)\"'`]|\Z)", CLEAR),
    # Columns of a table.
    _tail(rf"(?P<keep>[ \t]{{0,40}}\|[ \t]{{0,40}}){_REFERENCE}(?=[^\s|]{{0,400}}[a-z0-9])[^\s|]{{1,400}}(?=[ \t]{{0,200}}\|)"),
    _tail(rf"(?P<keep>\t+| {{2,80}}){_REFERENCE}(?=(?-i:[^\s]{{0,400}}[a-z0-9]))[^\s]{{1,400}}", before=r"(?-i:\b[A-Z][A-Z0-9_]{0,60}_)"),
    # Pairs of a name and a value: JSON, YAML, XML, an element.
    _tail(rf"(?P<keep>\\{{0,8}}\"\s{{0,8}},\s{{0,40}}\\{{0,8}}\"(?:\w{{0,20}}value|content|data)\\{{0,8}}\"\s{{0,8}}:\s{{0,8}}\\{{0,8}}\"){_REFERENCE}[^\"]{{1,4000}}?(?P<keep2>\\{{0,8}}\")"),
    _tail(rf"(?P<keep>[\"']?[ \t]{{0,4}}(?:\r?\n[ \t+-]{{0,40}}|,[ \t]{{0,4}}|[ \t]{{1,4}})\w{{0,20}}value(?::[ \t]{{1,4}}|=)[\"']?){_REFERENCE}[^\s\"'][^\n}}\"']{{0,2000}}", before=r"(?:name|key)(?::[ \t]{1,4}|=)[\"']?[\w.-]{0,100}"),
    _tail(rf"(?P<keep>\\{{0,8}}[\"'][^<>\n]{{0,200}}?\bvalue\s{{0,4}}=\s{{0,4}}\\{{0,8}}(?P<q>[\"'])){_REFERENCE}[^\"'\n\\]{{1,2000}}(?P<keep2>\\{{0,8}}(?P=q))"),
    _tail(rf"(?P<keep>(?:\s[^<>\n]{{0,200}})?>\s{{0,40}}(?:<!\[CDATA\[)?){_REFERENCE}[^<>\]]{{1,4000}}(?P<keep2>(?:\]\]>)?\s{{0,40}}</|\Z)", before=r"<[\w:.-]{0,100}"),
)  # fmt: skip

SHAPES = (*BY_PLACE, *BY_FORM)
SEPARATES = re.compile(r"[\s=:;<>|$@%\"'`\\]|-----")  # one of these is in all shapes but those by form

_BEFORE = 200  # characters
_FLAG_LENGTH = 61
# What may stand behind a name for any rule to hold; most names are followed by nothing of it.
_GOES_ON = re.compile(
    rf"{_NAME}(?:[\\\"'\])]|\s{{0,40}}[=:|(>,-]|\s{{1,8}}(?:is|es|era|was|now|to|for|of|de|para|del)\b|[ \t]{{1,8}}[\"'`]"
    r"|\s[^<>\n]{0,200}>|,?\s{1,8}value\b|[ \t]{1,8}[^\s\d]{0,80}\d|\t| {2}|\s{0,8}\\?\r?\n)",
    re.IGNORECASE,
)
_LOWER = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY")
_KEY_LINE = re.compile(r"(?:^|\s)[A-Za-z0-9+/=]{4,80}\s*$")

# A long random text without a name. Identifiers are random, too: those in hexadecimal, with hyphens or behind a name
# that says so are left alone.
_RANDOM = re.compile(r"(?<![\w+/=.:@$%#-])[A-Za-z0-9+/_-]{32,256}={0,2}(?![\w+/=.:@%-])")
_IDENTIFIES = re.compile(
    r"(?:id(?:-?\d)?|uid|trace|span|etag|digest|sha-?\d{0,3}|integrity|nonce|cursor|fingerprint|hash|checksum|version|key-id|page"
    r"|revision|commit|continue)[\"']?\s?[:=]\s?[\"'\[]?$",
    re.IGNORECASE,
)
_PUBLIC_KEY = "AAAA"  # of SSH: its length comes first
_LOWEST_ENTROPY = 4.2  # bits a character; English identifiers of this length stay below 4


def hide_named(text: str, hide: Callable[[re.Match[str]], str]) -> str:
    """Replace what follows the names of secrets.

    One pass finds the names; only there the rules are tried, which makes a long text as fast as a short one.
    """
    lower = text.lower()
    if len(lower) != len(text):  # a few letters of other alphabets change their length
        lower = text.translate(_LOWER)
    pieces: list[str] = []
    done = at = 0
    while name := FIND_NAME.search(lower, at):
        matched, at = _tail_at(text, name.start(), done), name.start() + 1  # `otp` is part of `rootPassword`
        if matched:
            pieces += (text[done : matched.start()], hide(matched))
            done = at = matched.end()
    pieces.append(text[done:])
    return "".join(pieces)


def _tail_at(text: str, start: int, done: int) -> re.Match[str] | None:
    """Return the match of the first rule for the name that starts here; of what was hidden before, nothing counts."""
    if not _GOES_ON.match(text, start) and "-" not in text[max(0, start - _FLAG_LENGTH) : start]:
        return None
    whole = {names: names.match(text, start) for names in (ANY, CLEAR, STRONG)}
    for tail in BY_NAME:
        name = whole[tail.names]
        if name is None:
            continue
        matched = tail.pattern.match(text, name.end())
        if matched and (tail.before is None or tail.before.search(text, max(done, start - _BEFORE), start)):
            return matched
    return None


def hide_key_ends(text: str, hidden: str = HIDDEN) -> str:
    """Replace the lines of a private key whose beginning was cut off: those above its end."""
    if "PRIVATE KEY" not in text or not _KEY_END.search(text):
        return text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        above = number - 1
        while _KEY_END.search(line) and above >= 0 and _KEY_LINE.search(lines[above]):
            lines[above] = hidden
            above -= 1
    return "\n".join(lines)


def hide_random(text: str, hidden: str = HIDDEN) -> str:
    """Replace long random text, such as a key printed without its name."""

    def replaced(match: re.Match[str]) -> str:
        matched = match[0]
        if not _is_random(matched) or _IDENTIFIES.search(text, max(0, match.start() - 40), match.start()):
            return matched
        return hidden

    return _RANDOM.sub(replaced, text)


def _is_random(text: str) -> bool:
    kinds = [any(map(test, text)) for test in (str.islower, str.isupper, str.isdigit)]
    if text.startswith(_PUBLIC_KEY):
        return False
    if not all(kinds) or text.count("/") > 3 or text.count("-") > 3 or text.count("_") > 3:
        return False
    turns = sum(a.isdigit() != b.isdigit() or a.isupper() != b.isupper() for a, b in pairwise(text))
    return turns >= len(text) / 3 and _entropy(text) >= _LOWEST_ENTROPY


def _entropy(text: str) -> float:
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
