"""A database's dump, made in a pod that knows the database, and streamed.

The pod's own DATABASE_URL says where the database is. It is taken apart there, by the shell alone, into the variables
that libpq reads: so it stands on no command line, neither on ours nor on that of a process in the pod.
https://www.postgresql.org/docs/current/libpq-envars.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from bot.integrations.kubernetes.programs import Exec

SCRIPT = r"""
set -eu
decoded() {
  plain= rest=$1
  while [ "$rest" != "${rest#*%}" ]; do
    plain=$plain${rest%%\%*}
    rest=${rest#*%}
    plain=$plain$(printf "\\$(printf %03o "0x${rest%"${rest#??}"}")")
    rest=${rest#??}
  done
  printf %s "$plain$rest"
}
address=${DATABASE_URL#*://} options=
case $address in *\?*) options=${address#*\?} address=${address%%\?*} ;; esac
case $address in */*) PGDATABASE=$(decoded "${address#*/}") address=${address%%/*} ;; esac
case $address in
  *@*)
    login=${address%@*} address=${address##*@}
    PGUSER=$(decoded "${login%%:*}")
    case $login in *:*) PGPASSWORD=$(decoded "${login#*:}") ;; esac
    ;;
esac
case $address in
  \[*) PGHOST=${address#\[} PGHOST=${PGHOST%%\]*} address=${address##*\]} ;;
  *) PGHOST=${address%%:*} ;;
esac
case $address in *:*) PGPORT=${address##*:} ;; esac
while [ -n "$options" ]; do
  case $options in
    sslmode=*) PGSSLMODE=${options#*=} PGSSLMODE=${PGSSLMODE%%&*} ;;
    sslrootcert=*) PGSSLROOTCERT=${options#*=} PGSSLROOTCERT=$(decoded "${PGSSLROOTCERT%%&*}") ;;
  esac
  case $options in *\&*) options=${options#*&} ;; *) options= ;; esac
done
export PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE PGSSLMODE PGSSLROOTCERT
unset DATABASE_URL
exec pg_dump --format=custom --no-password
"""


class Dumps:
    def __init__(self, programs: Exec) -> None:
        self._programs = programs

    def of_database(self, pod: str, namespace: str) -> AsyncIterator[bytes]:
        """The dump as pg_dump writes it, piece by piece. Raises as `Programs.output`."""
        return self._programs.stream(pod, namespace, ["sh", "-c", SCRIPT])
