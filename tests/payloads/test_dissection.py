"""Each request as tshark's dissectors read it: of its protocol, whole, with the token in its field."""

import shutil
import subprocess

import builders as b
import craft
import pytest

from udpprobe.payloads import load

TOKEN = bytes.fromhex("1122334455667788")
RAW = 101
ROWS = load().rows[9:]

PROTOCOL = {  # tshark's name where it is another than ours
    "netbios-ns": "nbns",
    "snmp-v3": "snmp",
    "snmp-v2c": "snmp",
    "snmp-v1": "snmp",
    "asf-ping": "asf",
    "ipmi": "ipmi_session",
    "bacnet": "bacapp",
    "ethernet-ip": "enip",
    "portmap": "rpc",
    "nfs": "rpc",
    "ikev2": "isakmp",
    "ikev1": "isakmp",
    "ikev2-natt": "udpencap:isakmp",
    "ikev1-natt": "udpencap:isakmp",
    "wireguard": "wg",
    "nat-pmp": "portcontrol",
    "pcp": "portcontrol",
    "dhcp-inform": "dhcp",
    "dhcpv6-inform": "dhcpv6",
    "iax2": "iax2",
    "gtpv2": "gtpv2",
    "gtpv1": "gtp",
    "memcached": "memcache",
    "dht": "bt-dht",
}
UNKNOWN_TO_TSHARK = {"ms-sql-browser", "a2s", "discard", "time"}

FIELD = {  # where tshark shows the token, and what it makes of it
    "dns": ("dns.id", "0x1122"),
    "mdns": ("dns.id", "0x1122"),
    "llmnr": ("dns.id", "0x1122"),
    "netbios-ns": ("nbns.id", "0x1122"),
    "snmp-v3": ("snmp.msgID", str(0x40112233)),
    "snmp-v2c": ("snmp.request_id", str(0x40112233)),
    "snmp-v1": ("snmp.request_id", str(0x40112233)),
    "asf-ping": ("asf.tag", "0x11"),
    "bacnet": ("bacapp.invoke_id", "17"),
    "ethernet-ip": ("enip.context", "1122334455667788"),
    "portmap": ("rpc.xid", "0x11223344"),
    "nfs": ("rpc.xid", "0x11223344"),
    "radius": ("radius.authenticator", "11223344556677880000000000000000"),
    "cldap": ("ldap.messageID", str(0x40112233)),
    "kerberos": ("kerberos.nonce", str(0x40112233)),
    "ikev2": ("isakmp.ispi", "1122334455667788"),
    "ikev1": ("isakmp.ispi", "1122334455667788"),
    "ikev2-natt": ("isakmp.ispi", "1122334455667788"),
    "ikev1-natt": ("isakmp.ispi", "1122334455667788"),
    "quic": ("quic.dcid", "1122334455667788"),
    "openvpn": ("openvpn.sessionid", str(0x1122334455667788)),
    "stun": ("stun.id", "112233445566778800000000"),
    "coap": ("coap.mid", str(0x1122)),
    "l2tp": ("l2tp.avp.assigned_tunnel_id", str(0x1122)),
    "bfd": ("bfd.my_discriminator", "0x11223344"),
    "dhcp-inform": ("dhcp.id", "0x11223344"),
    "dhcpv6-inform": ("dhcpv6.xid", "0x112233"),
    "iax2": ("iax2.timestamp", str(0x11223344)),
    "gtpv2": ("gtpv2.seq", "0x112233"),
    "gtpv1": ("gtp.seq_number", "0x1122"),
    "pfcp": ("pfcp.seqno", str(0x112233)),
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")]


def request(row):
    return row.data[: row.token_at] + TOKEN[: row.token_size] + row.data[row.token_at + row.token_size :]


@pytest.fixture(scope="module")
def dissected(tmp_path_factory):
    """Of each row by name: protocols, whether malformed, the fields of FIELD."""
    path = tmp_path_factory.mktemp("tshark") / "requests.pcap"
    # a source port each: what tshark found out about a conversation it believes of the next one, too
    path.write_bytes(
        craft.pcap(
            RAW,
            [b.datagram("192.0.2.1", "192.0.2.2", 40000 + n, row.ports[0], request(row)) for n, row in enumerate(ROWS)],
        )
    )
    fields = ["frame.protocols", "_ws.malformed", *dict.fromkeys(field for field, _ in FIELD.values())]
    wanted = [word for field in fields for word in ("-e", field)]
    shown = subprocess.run(
        ["tshark", "-n", "-r", path, "-T", "fields", *wanted], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return {row.name: dict(zip(fields, line.split("\t"), strict=True)) for row, line in zip(ROWS, shown, strict=True)}


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.name not in UNKNOWN_TO_TSHARK])
def test_tshark_reads_a_whole_request_of_the_protocol(name, dissected):
    assert f":{PROTOCOL.get(name, name)}:" in dissected[name]["frame.protocols"] + ":"
    assert "" == dissected[name]["_ws.malformed"]


@pytest.mark.parametrize("name", FIELD)
def test_the_token_is_in_a_free_field(name, dissected):
    field, value = FIELD[name]
    assert value == dissected[name][field].replace(":", "").split(",")[0]
