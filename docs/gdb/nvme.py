# SPDX-License-Identifier: MIT
"""
NVMe for gdb: pretty printers and commands for programs that contain nvme.h.

    (gdb) source docs/gdb/nvme.py
    (gdb) nvme help

Everything here only looks: it reads memory and never changes the program. The names of opcodes,
status codes and register fields come from the tables of the program itself (nvme__*_names,
nvme__regs), so they are the words of its log. Needs a program built with -g; with -O0 it can
find more variables.
"""

import gdb
import struct

# ---- small things ----------------------------------------------------------------------------

ANY_OTHER = 0xFFFFFFFF  # NVME__ANY_OTHER: the row of a table for all codes not listed before it
MOST_ROWS = 4096  # where a table, a list or a ring without an end is given up


def trouble(sentence):
    """An error for the user: what is wrong and what to do, in one sentence."""
    return gdb.GdbError(sentence)


def bits(value, hi, lo):
    return (int(value) >> lo) & ((1 << (hi - lo + 1)) - 1)


def hexh(value):
    """A number the way the specification writes it: 464060h; small ones as they are."""
    value = int(value)
    return str(value) if 0 <= value < 10 else "%Xh" % value


def plural(n, one, many=None):
    return "%d %s" % (n, one if n == 1 else many or one + "s")


def struct_tag(type_):
    """The tag of a structure behind typedefs and qualifiers, or None."""
    type_ = type_.strip_typedefs().unqualified()
    return type_.tag if type_.code == gdb.TYPE_CODE_STRUCT else None


def pointed_tag(type_):
    type_ = type_.strip_typedefs().unqualified()
    return struct_tag(type_.target()) if type_.code == gdb.TYPE_CODE_PTR else None


def is_running():
    return gdb.selected_inferior().pid != 0


# ---- the tables in the program ---------------------------------------------------------------


class Tables:
    """Reads nvme__*_names and nvme__regs, from memory or, before 'run', from the program's file."""

    def __init__(self):
        self.forget()

    def forget(self, _event=None):
        self.names = {}
        self.enums = {}
        self.regs = None
        self.addends = None

    def symbol(self, name):
        found = gdb.lookup_static_symbol(name) or gdb.lookup_global_symbol(name)
        if found is None:
            if not gdb.objfiles():
                raise trouble(
                    "No program is loaded, and the names are in the program: "
                    "type 'file build/debug/hello_world' first."
                )
            raise trouble(
                "This program has no '%s': load one that contains nvme.h and was built with -g, "
                "for example with 'file build/debug/hello_world'." % name
            )
        return found.value()

    def file_addends(self):
        """
        Pointers of a position independent program, which its file keeps apart (ELF64 RELA), at the
        addresses where gdb has the program now: after a run it leaves it where it was.
        """
        addends = {}
        try:
            with open(gdb.objfiles()[0].filename, "rb") as elf:
                head = elf.read(64)
                if head[:6] != b"\x7fELF\x02\x01":
                    return addends
                entry, _phoff, at = struct.unpack_from("<QQQ", head, 24)
                size, count = struct.unpack_from("<HH", head, 58)
                moved = int(gdb.parse_and_eval("(unsigned long)&_start")) - entry
                elf.seek(at)
                sections = elf.read(size * count)
                for i in range(count):
                    kind = struct.unpack_from("<I", sections, i * size + 4)[0]
                    offset, length = struct.unpack_from("<QQ", sections, i * size + 24)
                    if kind != 4:  # SHT_RELA
                        continue
                    elf.seek(offset)
                    for place, info, addend in struct.iter_unpack("<QQq", elf.read(length)):
                        if info in (8, 1027):  # R_X86_64_RELATIVE, R_AARCH64_RELATIVE
                            addends[place + moved] = addend + moved
        except (OSError, struct.error, IndexError, gdb.error):
            pass
        return addends

    def pointer(self, value):
        """A pointer out of a table, 0 for NULL."""
        if is_running():
            return int(value)
        if not self.addends:
            self.addends = self.file_addends()
        return self.addends.get(int(value.address), int(value))

    def text(self, value):
        address = self.pointer(value)
        if address == 0:
            return None
        char = gdb.lookup_type("char").pointer()
        return gdb.Value(address).cast(char).string("utf-8", "replace")

    def rows(self, value):
        """The rows of a table of struct nvme__name as a dictionary; None is all the others."""
        found = {}
        for i in range(MOST_ROWS):
            code = int(value[i]["code"])
            found[None if code == ANY_OTHER else code] = self.text(value[i]["text"])
            if code == ANY_OTHER:
                return found
        return found

    def name(self, table, code):
        if table not in self.names:
            self.names[table] = self.rows(self.symbol("nvme__%s_names" % table))
        known = self.names[table]
        return known.get(int(code), known[None])

    def enum(self, name):
        if name not in self.enums:
            try:
                self.enums[name] = int(gdb.parse_and_eval(name))
            except gdb.error:
                raise trouble(
                    "This program has no '%s': load one that contains nvme.h and was built "
                    "with -g, for example with 'file build/debug/hello_world'." % name
                )
        return self.enums[name]

    def registers(self):
        """All registers as {name: (offset, size, [field])}, in the order of their offsets."""
        if self.regs is None:
            regs = {}
            table = self.symbol("nvme__regs")
            row_type = gdb.lookup_type("struct nvme_field").pointer()
            name_type = gdb.lookup_type("struct nvme__name").pointer()
            for i in range(table.type.range()[1] + 1):
                row = gdb.Value(self.pointer(table[i]["fields"])).cast(row_type)
                fields = []
                while self.pointer(row["name"]) != 0 and len(fields) < 64:
                    codes = self.pointer(row["codes"])
                    fields.append(
                        {
                            "hi": int(row["hi"]),
                            "lo": int(row["lo"]),
                            "unit": int(row["unit"]),
                            "name": self.text(row["name"]),
                            "what": self.text(row["what"]),
                            "codes": self.rows(gdb.Value(codes).cast(name_type))
                            if codes
                            else {None: None},
                        }
                    )
                    row += 1
                regs[self.text(table[i]["name"])] = (
                    int(table[i]["offset"]),
                    int(table[i]["size"]),
                    fields,
                )
            self.regs = regs
        return self.regs


tables = Tables()
gdb.events.new_objfile.connect(tables.forget)
gdb.events.clear_objfiles.connect(tables.forget)
gdb.events.exited.connect(tables.forget)


# ---- registers as text -----------------------------------------------------------------------


def field_meaning(field, value):
    """What the number in a field means; the same words as nvme_format_field_value()."""
    unit = field["unit"]
    enum = tables.enum
    if unit == enum("NVME__UNIT_CODES"):
        return field["codes"].get(value, field["codes"].get(None)) or ""
    if unit == enum("NVME__UNIT_BITS"):
        set_ = [text for bit, text in field["codes"].items() if bit is not None and value & bit]
        return ", ".join(set_) if value else "none"
    if unit == enum("NVME__UNIT_YES"):
        return "yes" if value else "no"
    if unit == enum("NVME__UNIT_ENTRIES"):
        return "%d entries" % (value + 1)
    if unit == enum("NVME__UNIT_500MS"):
        return "%d ms" % (value * 500)
    if unit == enum("NVME__UNIT_LOG2"):
        return "%d bytes" % (1 << value)
    if unit == enum("NVME__UNIT_LOG2_PAGE"):
        return "%d bytes" % (1 << (12 + value))
    if unit == enum("NVME__UNIT_LOG2_DWORD"):
        return "%d bytes" % (1 << (2 + value))
    if unit == enum("NVME__UNIT_PAGE_ADDR"):
        return "0x%x" % (value << 12)
    return ""


def register_lines(name, value):
    """A register, field by field."""
    _offset, size, fields = tables.registers()[name]
    lines = ["%s = %0*Xh (decimal %d)" % (name, size * 2, value, value)]
    if name == "VS":
        lines[0] += ", NVMe %d.%d.%d" % (bits(value, 31, 16), bits(value, 15, 8), value & 255)
    if value == (1 << (8 * size)) - 1:
        lines[0] += ": all ones, which is what a device that is gone reads as"
    known, rows = 0, []
    for f in fields:
        number = bits(value, f["hi"], f["lo"])
        known |= ((1 << (f["hi"] - f["lo"] + 1)) - 1) << f["lo"]
        rows.append((f["hi"], f["lo"], f["name"], number, field_meaning(f, number), f["what"]))
    lines += columns(rows)
    rest = value & ~known
    if fields and rest:
        lines.append("  %s in reserved bits" % hexh(rest))
    return lines


def columns(rows):
    """Fields (hi, lo, name, number, meaning, what) as lines of columns."""
    width = max([len(row[4]) for row in rows] + [0])
    lines = []
    for hi, lo, name, number, meaning, what in rows:
        place = "%d:%d" % (hi, lo) if hi != lo else "%d" % hi
        lines.append(
            "  %-6s %-7s %-6s %-*s  %s" % (place, name, hexh(number), width, meaning, what)
        )
    return lines


STATUS_FIELDS = [
    (15, 15, "DNR", "Do Not Retry"),
    (14, 14, "M", "More: details are in the error log"),
    (13, 12, "CRD", "Command Retry Delay"),
    (11, 9, "SCT", "Status Code Type"),
    (8, 1, "SC", "Status Code"),
    (0, 0, "P", "Phase Tag, not part of the status"),
]


def status_name(sct, sc):
    enum = tables.enum
    for code, table in (
        ("NVME_SCT_GENERIC", "generic"),
        ("NVME_SCT_COMMAND_SPECIFIC", "command_specific"),
        ("NVME_SCT_MEDIA_ERROR", "media"),
        ("NVME_SCT_PATH", "path"),
    ):
        if sct == enum(code):
            return tables.name(table, sc)
    return tables.name("sct", sct)


def status_lines(value):
    """The upper half of dword 3 of a completion, with the phase bit in bit 0."""
    sct, sc = bits(value, 11, 9), bits(value, 8, 1)
    rows = []
    for hi, lo, name, what in STATUS_FIELDS:
        number = bits(value, hi, lo)
        text = ""
        if name == "SCT":
            text = tables.name("sct", number)
        elif name == "SC":
            text = status_name(sct, number)
        elif name == "DNR":
            text = "it would fail again" if number else "a retry may help" if sct or sc else ""
        rows.append((hi, lo, name, number, text, what))
    first = "status word = %04Xh: %s (%02x/%02x)" % (value, status_name(sct, sc), sct, sc)
    return [first] + columns(rows)


def offset_name(offset, dstrd):
    """The name of an offset in BAR0: CC, ASQ+4, SQ1TDBL."""
    if offset >= 0x1000:
        index, rest = divmod(offset - 0x1000, 4 << dstrd)
        if rest:
            return "RESERVED"
        return ("CQ%dHDBL" if index % 2 else "SQ%dTDBL") % (index // 2)
    for name, (at, size, _fields) in tables.registers().items():
        if at == offset:
            return name
        if size == 8 and at + 4 == offset:
            return name + "+4"
    return "RESERVED"


# ---- commands and completions as text --------------------------------------------------------


def opcode_name(opc, qid):
    """qid None: the queue is not known, so neither is the list that the opcode is from."""
    if qid is None:
        admin, io = tables.name("admin_opc", opc), tables.name("io_opc", opc)
        return "%02Xh (%s on the admin queue, %s on the others)" % (opc, admin, io)
    fabric = opc == tables.enum("NVME_OPC_FABRIC")
    return tables.name("admin_opc" if qid == 0 or fabric else "io_opc", opc)


def decoded_dwords(cmd, qid):
    """What the command dwords say, as (name, text): NSID and CDW10 to CDW15."""
    enum = tables.enum
    opc = int(cmd["opc"])
    d = {i: int(cmd["cdw%d" % i]) for i in range(10, 16)}
    if qid == 0:
        if opc == enum("NVME_OPC_IDENTIFY"):
            cns = bits(d[10], 7, 0)
            return [("CNS", "%02Xh %s" % (cns, tables.name("cns", cns)))]
        if opc == enum("NVME_OPC_GET_LOG_PAGE"):
            lid = bits(d[10], 7, 0)
            dwords = (bits(d[11], 15, 0) << 16 | bits(d[10], 31, 16)) + 1
            return [
                ("LID", "%02Xh %s" % (lid, tables.name("log_page", lid))),
                ("NUMD", "%d bytes" % (dwords * 4)),
            ]
        if opc in (enum("NVME_OPC_SET_FEATURES"), enum("NVME_OPC_GET_FEATURES")):
            fid = bits(d[10], 7, 0)
            found = [("FID", "%02Xh %s" % (fid, tables.name("feat", fid)))]
            if fid == enum("NVME_FEAT_NUMBER_OF_QUEUES") and opc == enum("NVME_OPC_SET_FEATURES"):
                found.append(("NSQ", "%d queues" % (bits(d[11], 15, 0) + 1)))
                found.append(("NCQ", "%d queues" % (bits(d[11], 31, 16) + 1)))
            elif d[11]:
                found.append(("CDW11", hexh(d[11])))
            return found
        if opc in (enum("NVME_OPC_CREATE_IO_CQ"), enum("NVME_OPC_CREATE_IO_SQ")):
            found = [
                ("QID", str(bits(d[10], 15, 0))),
                ("QSIZE", "%d entries" % (bits(d[10], 31, 16) + 1)),
                ("PC", str(bits(d[11], 0, 0))),
            ]
            if opc == enum("NVME_OPC_CREATE_IO_CQ"):
                found += [("IEN", str(bits(d[11], 1, 1))), ("IV", str(bits(d[11], 31, 16)))]
            else:
                found += [("QPRIO", str(bits(d[11], 2, 1))), ("CQID", str(bits(d[11], 31, 16)))]
            return found
        if opc in (enum("NVME_OPC_DELETE_IO_CQ"), enum("NVME_OPC_DELETE_IO_SQ")):
            return [("QID", str(bits(d[10], 15, 0)))]
        if opc == enum("NVME_OPC_ABORT"):
            return [("SQID", str(bits(d[10], 15, 0))), ("CID", str(bits(d[10], 31, 16)))]
    elif qid is not None:
        with_lba = ("READ", "WRITE", "COMPARE", "WRITE_UNCORRECTABLE", "WRITE_ZEROES", "VERIFY")
        if opc in [enum("NVME_OPC_" + name) for name in with_lba]:
            found = [
                ("SLBA", str(d[11] << 32 | d[10])),
                ("NLB", plural(bits(d[12], 15, 0) + 1, "block")),
            ]
            if bits(d[12], 30, 30):
                found.append(("FUA", "1"))
            if bits(d[12], 31, 31):
                found.append(("LR", "1"))
            return found
        if opc == enum("NVME_OPC_FLUSH"):
            return []
    return [("CDW%d" % i, hexh(v)) for i, v in d.items() if v]


def data_pointer(cmd):
    """The data pointer as (name, text)."""
    psdt = bits(cmd["flags"], 7, 6)
    if psdt == 0:
        prp = cmd["dptr"]["prp"]
        return [("PRP1", "0x%x" % int(prp["prp1"])), ("PRP2", "0x%x" % int(prp["prp2"]))]
    if psdt == 3:
        return [("PSDT", "3 (reserved)")]
    sgl = cmd["dptr"]["sgl"]
    kind = tables.name("sgl_type", bits(sgl["id"], 7, 4))
    return [("SGL", "%s 0x%x, %d bytes" % (kind, int(sgl["addr"]), int(sgl["len"])))]


def raw_bytes(value):
    memory = gdb.selected_inferior().read_memory(int(value.address), value.type.sizeof)
    return memory.tobytes()


def is_zero(value):
    """Is every byte of this structure zero, as in a slot that was never used?"""
    return not any(raw_bytes(value))


def sqe_line(cmd, qid):
    """One command in one line."""
    nsid = int(cmd["nsid"])
    parts = [opcode_name(int(cmd["opc"]), qid), "cid:%d" % int(cmd["cid"])]
    if nsid:
        parts.append("nsid:%s" % ("all" if nsid == 0xFFFFFFFF else nsid))
    parts += ["%s:%s" % pair for pair in decoded_dwords(cmd, qid)]
    if qid is None or int(cmd["opc"]) & 3 or has_queue_address(cmd, qid):
        parts += ["%s:%s" % pair for pair in data_pointer(cmd)]
    return " ".join(parts)


def has_queue_address(cmd, qid):
    creates = (tables.enum("NVME_OPC_CREATE_IO_SQ"), tables.enum("NVME_OPC_CREATE_IO_CQ"))
    return qid == 0 and int(cmd["opc"]) in creates


def cqe_line(cpl):
    """One completion in one line."""
    status = int(cpl["status"])
    sct, sc = bits(status, 11, 9), bits(status, 8, 1)
    line = "%s (%02x/%02x) cid:%d sqid:%d sqhd:%d cdw0:%s p:%d" % (
        status_name(sct, sc),
        sct,
        sc,
        int(cpl["cid"]),
        int(cpl["sqid"]),
        int(cpl["sqhd"]),
        hexh(cpl["cdw0"]),
        status & 1,
    )
    if bits(status, 14, 14):
        line += " m:1"
    if bits(status, 15, 15):
        line += " dnr:1"
    return line


# ---- finding the controller ------------------------------------------------------------------


def ctrlr_ok(ptr):
    """Is this a controller that is set up, rather than a variable without a value yet?"""
    try:
        ctrlr = ptr.dereference()
        return int(ctrlr["dev"]["log"]) == int(ctrlr["log"].address)
    except (gdb.error, gdb.MemoryError):
        return False


def qpair_ok(ptr):
    try:
        qp = ptr.dereference()
        return (
            2 <= int(qp["entries"]) <= 65536
            and int(qp["phase"]) <= 1
            and int(qp["sq"]) != 0
            and int(qp["cq"]) != 0
            and int(qp["trackers"]) != 0
            and ctrlr_ok(qp["ctrlr"])
        )
    except (gdb.error, gdb.MemoryError):
        return False


def frame_variables(frame):
    """Names and values of the variables of a frame, the innermost block first."""
    seen = set()
    try:
        block = frame.block()
    except RuntimeError:  # code without debug information
        return
    while block is not None and not block.is_global and not block.is_static:
        for symbol in block:
            if (symbol.is_argument or symbol.is_variable) and symbol.name not in seen:
                seen.add(symbol.name)
                try:
                    yield symbol.name, symbol.value(frame)
                except (gdb.error, gdb.MemoryError, TypeError):
                    pass
        if block.function is not None:
            return
        block = block.superblock


class Found:
    """The controller, and the queue pair if there is one, next to the selected frame."""

    def __init__(self):
        self.ctrlr = self.qp = None
        self.where = self.qp_where = ""

    def look_at(self, name, value, frame):
        type_ = value.type.strip_typedefs()
        if type_.code == gdb.TYPE_CODE_PTR:
            target = type_.target().strip_typedefs()
            if target.code == gdb.TYPE_CODE_PTR and pointed_tag(target) in (
                "nvme_ctrlr",
                "nvme_qpair",
            ):
                value = value.dereference()  # an out parameter
        tag = pointed_tag(value.type)
        where = "'%s' of frame %d, %s()" % (name, frame.level(), frame.name())
        ctrlr = None
        try:
            if tag == "nvme_qpair" and qpair_ok(value):
                ctrlr = value["ctrlr"]
                if self.qp is None:
                    self.qp, self.qp_where = value, where
            elif tag == "nvme_ctrlr" and ctrlr_ok(value):
                ctrlr = value
            elif tag == "nvme_ns" and ctrlr_ok(value["ctrlr"]):
                ctrlr = value["ctrlr"]
            elif tag == "nvme_dev":  # the first member of a controller
                guess = value.cast(gdb.lookup_type("struct nvme_ctrlr").pointer())
                ctrlr = guess if ctrlr_ok(guess) else None
        except (gdb.error, gdb.MemoryError):
            return
        if ctrlr is not None and self.ctrlr is None:
            self.ctrlr, self.where = ctrlr, where


def find(need_ctrlr=True):
    """Walks from the selected frame towards main() until a controller is in sight."""
    if not is_running():
        if not need_ctrlr:
            return Found()
        raise trouble(
            "The program is not running, so there is no controller yet: set a breakpoint, for "
            "example 'break nvme_ring_sq_doorbell', and type 'run'."
        )
    found = Found()
    try:
        frame = gdb.selected_frame()
    except gdb.error:
        frame = None
    for _ in range(64):
        if frame is None or not frame.is_valid():
            break
        for name, value in frame_variables(frame):
            found.look_at(name, value, frame)
        if found.ctrlr is not None and found.qp is not None:
            break
        frame = frame.older()
    if found.ctrlr is None and need_ctrlr:
        raise trouble(
            "No controller is in sight: no frame from here to main() has a variable for a "
            "controller, a queue pair or a namespace that is set up; stop inside the driver, for "
            "example with 'break nvme_ring_sq_doorbell' and 'continue'."
        )
    if found.qp is not None and found.ctrlr is not None:
        if int(found.qp["ctrlr"]) != int(found.ctrlr):
            found.qp = None
    return found


def queue_pairs(found):
    """All queue pairs of the controller, by queue id; also one that is just being created."""
    pairs = {}
    admin = found.ctrlr["adminq"]
    if int(admin) and qpair_ok(admin):
        pairs[0] = admin
    qp = found.ctrlr["io_qpairs"]
    for _ in range(MOST_ROWS):
        if int(qp) == 0 or not qpair_ok(qp):
            break
        pairs[int(qp["id"])] = qp
        qp = qp["next"]
    if found.qp is not None:
        pairs.setdefault(int(found.qp["id"]), found.qp)
    return pairs


def queue_of(address, found):
    """The id of the queue pair whose ring or trackers hold this address, or None."""
    if found.ctrlr is None:
        return None
    for qid, qp in queue_pairs(found).items():
        for base, count in (("sq", "entries"), ("trackers", "num_trackers")):
            start = int(qp[base])
            size = int(qp[count]) * qp[base].type.target().sizeof
            if start <= address < start + size:
                return qid
    return None


def queue_in_scope(found):
    return int(found.qp["id"]) if found.qp is not None else None


def qid_for(cmd):
    """Which queue is this command for? None if there is no telling."""
    try:
        found = find(need_ctrlr=False)
        qid = None
        if cmd.address is not None:
            qid = queue_of(int(cmd.address), found)
        return qid if qid is not None else queue_in_scope(found)
    except (gdb.error, gdb.MemoryError, gdb.GdbError):
        return None


def driver_address(ctrlr, iova):
    """Where the program sees what the controller sees at iova: (address, bytes left) or None."""
    arena = ctrlr["arena"]
    start = int(arena["iova"])
    if start <= iova < start + int(arena["mapped"]):
        return int(arena["base"]) + iova - start, start + int(arena["mapped"]) - iova
    for i in range(int(ctrlr["num_regions"])):
        if int(ctrlr["regions"][i]["version"]) % 2 == 0:
            continue
        region = ctrlr["regions"][i]
        start = int(region["iova"])
        if start <= iova < start + int(region["len"]):
            return int(region["vaddr"]) + iova - start, start + int(region["len"]) - iova
    return None


def stride_exponent(ctrlr):
    return bits(ctrlr["cap"], 35, 32)


# ---- the registers of a controller -----------------------------------------------------------


def read_memory_4(address):
    memory = gdb.selected_inferior().read_memory(address, 4)
    return struct.unpack("<I", memory.tobytes())[0]


class Registers:
    """Reads registers without disturbing anything, and says where it read them."""

    def __init__(self, ctrlr):
        self.ctrlr = ctrlr
        self.ops = ctrlr["dev"]["ops"]["name"].string()
        self.soft = soft_controller(ctrlr)
        self.call = False
        if self.soft is not None:
            self.where = "read in the memory of the soft controller, without a call"
        elif int(ctrlr["dev"]["bar0"]) != 0:
            self.where = "read in the mapped BAR0, without a call"
            try:
                read_memory_4(int(ctrlr["dev"]["bar0"]))
            except gdb.MemoryError:
                self.call = True
        else:
            self.call = True
        if self.call:
            self.where = "read with calls of nvme_mmio_read_4() in the program"

    def read_4(self, offset):
        if self.soft is not None:
            return soft_read_4(self.soft, offset)
        if not self.call:
            return read_memory_4(int(self.ctrlr["dev"]["bar0"]) + offset)
        try:
            function = gdb.parse_and_eval("nvme_mmio_read_4")
            return int(function(self.ctrlr["dev"].address, offset)) & 0xFFFFFFFF
        except gdb.error:
            raise trouble(
                "The registers of '%s' can only be read by a call in the program, and that did "
                "not work: stop the program inside the driver and try again."
                % self.ctrlr["dev"]["name"].string()
            )

    def read(self, offset, size):
        value = self.read_4(offset)
        if size == 8:
            value |= self.read_4(offset + 4) << 32
        return value


# The controller of tools/nvme_soft.h lives in the same process, so its registers are variables.


def soft_controller(ctrlr):
    """The struct nvme_soft behind a controller, or None if it is a real device."""
    try:
        if ctrlr["dev"]["ops"]["name"].string() != "soft" or not int(ctrlr["dev"]["priv"]):
            return None
        soft = ctrlr["dev"]["priv"].cast(gdb.lookup_type("struct nvme_soft").pointer())
        int(soft["csts"])
        return soft
    except (gdb.error, gdb.MemoryError):
        return None


def soft_read_4(soft, offset):
    """What nvme_soft_get_reg() would return."""
    if int(soft["gone"]):
        return 0xFFFFFFFF
    regs = tables.registers()
    for name, member in (
        ("CAP", "cap"),
        ("VS", "vs"),
        ("INTMS", "intm"),
        ("INTMC", "intm"),
        ("CC", "cc"),
        ("CSTS", "csts"),
        ("AQA", "aqa"),
        ("ASQ", "asq"),
        ("ACQ", "acq"),
        ("CRTO", "crto"),
    ):
        at, size, _fields = regs[name]
        if at <= offset < at + size:
            return (int(soft[member]) >> (8 * (offset - at))) & 0xFFFFFFFF
    return 0


def soft_sq_head(ctrlr, qid):
    """The slot that the controller fetches next: it knows better than the last completion."""
    soft = soft_controller(ctrlr)
    if soft is None or not int(soft["sq"][qid]["entries"]):
        return None
    return int(soft["sq"][qid]["head"])


# ---- PRPs ------------------------------------------------------------------------------------


def transfer_bytes(cmd, qid, ctrlr):
    """How many bytes a command moves, as far as the command says so; else None."""
    enum = tables.enum
    opc = int(cmd["opc"])
    dwords = dict(decoded_dwords(cmd, qid))
    if qid == 0:
        if opc == enum("NVME_OPC_IDENTIFY"):
            return 4096
        if opc == enum("NVME_OPC_GET_LOG_PAGE"):
            return int(dwords["NUMD"].split()[0])
    elif qid is not None and opc in (
        enum("NVME_OPC_READ"),
        enum("NVME_OPC_WRITE"),
        enum("NVME_OPC_COMPARE"),
    ):
        for i in range(int(ctrlr["num_ns"])):
            ns = ctrlr["ns"][i]
            if int(ns["id"]) == int(cmd["nsid"]):
                return int(dwords["NLB"].split()[0]) * int(ns["extended_sector_size"])
    return None


def entry_note(ctrlr, iova):
    here = driver_address(ctrlr, iova)
    if here is None:
        return "not memory of this driver"
    return "seen by the program at 0x%x" % here[0]


def prp_lines(cmd, size, ctrlr):
    """PRP1, PRP2 and the list behind it. size None: not known, so only what is certain."""
    page = int(ctrlr["page_size"])
    prp1 = int(cmd["dptr"]["prp"]["prp1"])
    prp2 = int(cmd["dptr"]["prp"]["prp2"])
    if size is None:
        lines = ["PRP1     0x%-10x %s" % (prp1, entry_note(ctrlr, prp1))]
        lines.append("PRP2     0x%-10x %s" % (prp2, entry_note(ctrlr, prp2) if prp2 else "none"))
        lines.append("How many bytes it moves is not in the command: add the number to see a list.")
        return lines
    first = min(size, page - (prp1 & (page - 1)))
    pages = 1 + -(-(size - first) // page)
    lines = ["%d bytes, pages of %d bytes: %s" % (size, page, plural(pages, "page"))]
    lines.append("PRP1     0x%-10x %-5d bytes, %s" % (prp1, first, entry_note(ctrlr, prp1)))
    if pages == 1:
        lines.append("PRP2     0x%-10x %s" % (prp2, "not used: one page is enough"))
        return lines
    if pages == 2:
        note = entry_note(ctrlr, prp2)
        lines.append("PRP2     0x%-10x %-5d bytes, %s" % (prp2, size - first, note))
        return lines
    lines.append("PRP2     0x%-10x a list of %d entries:" % (prp2, pages - 1))
    return lines + list_lines(ctrlr, prp2, pages - 1, size - first)


def list_lines(ctrlr, at, count, size):
    """The entries of a PRP list, count of them; links to further list pages are followed."""
    page = int(ctrlr["page_size"])
    lines, index = [], 0
    while index < count:
        here = driver_address(ctrlr, at)
        if here is None:
            lines.append("  the list page at 0x%x is not memory of this driver: it ends here" % at)
            return lines
        room = (page - (at & (page - 1))) // 8
        use = min(room, count - index)
        link = use < count - index
        if link:
            use -= 1
        memory = gdb.selected_inferior().read_memory(here[0], 8 * (use + link)).tobytes()
        entries = struct.unpack("<%dQ" % (use + link), memory)
        for i in range(use):
            if i < 3 or i >= use - 2:
                lines.append(
                    "  prp[%d]%s 0x%-10x %-5d bytes"
                    % (
                        index,
                        " " * max(0, 4 - len(str(index))),
                        entries[i],
                        min(page, size - index * page),
                    )
                )
            elif i == 3:
                lines.append(
                    "  ... %s, %s"
                    % (
                        plural(use - 5, "entry", "entries"),
                        "each one page after the last"
                        if all(entries[k + 1] - entries[k] == page for k in range(use - 1))
                        else "not all in a row",
                    )
                )
            index += 1
        if link:
            at = entries[-1]
            lines.append("  link    0x%-10x the list goes on in this page:" % at)
    return lines


# ---- rings -----------------------------------------------------------------------------------


def ring_rows(entries, keep, kind_of, line_of):
    """Slots as lines: those in keep one by one, the rest as runs of the same kind."""
    rows, start = [], None

    def flush(end):
        if start is None:
            return
        span = "%d" % start if start == end else "%d-%d" % (start, end)
        rows.append("      %-9s %s" % (span, kind_of(start)))

    for slot in range(entries):
        if entries <= 16 or slot in keep:
            flush(slot - 1)
            start = None
            rows.append(line_of(slot))
        elif start is None:
            start = slot
        elif kind_of(slot) != kind_of(start):
            flush(slot - 1)
            start = slot
    flush(entries - 1)
    return rows


def newest_cqe(qp):
    """Slot of the last completion that the controller wrote, as far as the ring tells; or None."""
    entries, head, phase = int(qp["entries"]), int(qp["cq_head"]), int(qp["phase"])
    slot, newest = head, None
    for _ in range(entries):
        if int(qp["cq"][slot]["status"]) & 1 != phase:
            break
        newest = slot
        slot += 1
        if slot == entries:
            slot, phase = 0, phase ^ 1
    if newest is None:
        before = (head - 1) % entries
        newest = before if not is_zero(qp["cq"][before]) else None
    return newest


def sq_head(qp):
    """How far the last completion that was taken says that the controller has fetched."""
    entries = int(qp["entries"])
    before = (int(qp["cq_head"]) - 1) % entries
    cpl = qp["cq"][before]
    return 0 if is_zero(cpl) else int(cpl["sqhd"])


def slots_of(qp, base, count):
    """All elements of a ring, or of the trackers, as bytes."""
    size = qp[base].type.target().sizeof
    length = int(qp[count]) * size
    memory = gdb.selected_inferior().read_memory(int(qp[base]), length).tobytes()
    return [memory[at : at + size] for at in range(0, length, size)]


def outstanding_slots(qp):
    """Slots of the SQ whose command is outstanding: a tracker begins with the same 64 bytes."""
    ring = slots_of(qp, "sq", "entries")
    entries, tail = int(qp["entries"]), int(qp["sq_tail"])
    trackers = qp["trackers"]
    flag_at = [f.bitpos // 8 for f in trackers.type.target().fields() if f.name == "outstanding"]
    waiting = {
        tracker[:64] for tracker in slots_of(qp, "trackers", "num_trackers") if tracker[flag_at[0]]
    }
    slots = set()
    for back in range(1, entries + 1):  # the newest first; last the slot at the tail itself
        if not waiting:
            break
        slot = (tail - back) % entries
        # a tracker that is taken but not filled yet is as empty as a slot
        if any(ring[slot]) and ring[slot] in waiting:
            waiting.remove(ring[slot])
            slots.add(slot)
    return slots


def sq_lines(qp, soft_head):
    entries, tail, head = int(qp["entries"]), int(qp["sq_tail"]), sq_head(qp)
    qid, out = int(qp["id"]), outstanding_slots(qp)
    used = [any(slot) for slot in slots_of(qp, "sq", "entries")]
    keep = {slot for slot in ((tail - 1) % entries, (tail - 2) % entries) if used[slot]}
    keep |= {tail, head} | out

    def kind_of(slot):
        return "done before" if used[slot] else "empty"

    def line_of(slot):
        mark = ("H" if slot == head else " ") + ("T" if slot == tail else " ")
        text = "empty"
        if used[slot]:
            text = sqe_line(qp["sq"][slot], qid)
            if slot in out:
                text += "  <- outstanding" if slot != tail else "  <- the tail has not moved yet"
            else:
                text += "  (done)"
        return ("  %s  %-9d %s" % (mark, slot, text)).rstrip()

    lines = [
        "SQ %d: %d entries at IOVA 0x%x, tail %d, head %d (SQHD of the last completion taken)"
        % (qid, entries, int(qp["sq_iova"]), tail, head)
    ]
    if soft_head is not None:
        lines.append("      the controller itself is at head %d" % soft_head)
    return lines + ring_rows(entries, keep, kind_of, line_of)


def cq_lines(qp):
    entries, head, phase = int(qp["entries"]), int(qp["cq_head"]), int(qp["phase"])
    ring = slots_of(qp, "cq", "entries")
    blank = [not any(slot) for slot in ring]
    phases = [slot[14] & 1 for slot in ring]
    fresh, slot, want = set(), head, phase
    while len(fresh) < entries and phases[slot] == want:
        fresh.add(slot)
        slot += 1
        if slot == entries:
            slot, want = 0, want ^ 1
    before = (head - 1) % entries
    keep = {head} | fresh | ({before} if not blank[before] else set())

    def kind_of(slot):
        return "p:%d %s" % (phases[slot], "empty" if blank[slot] else "taken before")

    def line_of(slot):
        mark = "H" if slot == head else " "
        text = "p:%d " % phases[slot]
        if blank[slot]:
            text += "empty"
        else:
            text += cqe_line(qp["cq"][slot]).rsplit(" p:", 1)[0]
            text += "  <- new" if slot in fresh else "  (taken)"
        return "  %s   %-9d %s" % (mark, slot, text)

    lines = [
        "CQ %d: %d entries at IOVA 0x%x, head %d, a new entry has phase %d"
        % (int(qp["id"]), entries, int(qp["cq_iova"]), head, phase)
    ]
    return lines + ring_rows(entries, keep, kind_of, line_of)


# ---- the commands ----------------------------------------------------------------------------


def say(lines):
    gdb.write("\n".join(lines) + "\n")


def number(text, what):
    try:
        value = gdb.parse_and_eval(text)
        return int(value.cast(gdb.lookup_type("unsigned long")))
    except (gdb.error, ValueError, TypeError) as error:
        raise trouble(
            "'%s' is not %s (%s): give a number, such as 3 or 0x3, or an expression that is one."
            % (text, what, str(error).rstrip("."))
        )


def pick_queue(text, found):
    pairs = queue_pairs(found)
    if not pairs:
        raise trouble(
            "The controller has no queues yet: go on until the admin queue exists, for example "
            "with 'break nvme_ring_sq_doorbell' and 'continue'."
        )
    if text:
        qid = number(text, "a queue id")
    elif found.qp is not None:
        qid = int(found.qp["id"])
    else:
        qid = 0
    if qid not in pairs:
        raise trouble(
            "There is no queue %d, only %s: 'break nvme_ctrlr_alloc_io_qpair' stops where another "
            "one is created." % (qid, ", ".join(map(str, sorted(pairs))))
        )
    return pairs[qid]


class NvmeCommand(gdb.Command):
    """What all subcommands have in common: they never show a Python traceback."""

    name = usage = ""

    def __init__(self):
        super().__init__(
            ("nvme " + self.name).strip(),
            gdb.COMMAND_DATA,
            gdb.COMPLETE_EXPRESSION if self.usage else gdb.COMPLETE_NONE,
            self.name == "",
        )

    def invoke(self, text, from_tty):
        self.dont_repeat()
        try:
            self.run(text.strip())
        except gdb.GdbError:
            raise
        except gdb.MemoryError as error:
            raise trouble(
                "This memory cannot be read (%s): the program may have released it; stop earlier "
                "and try again." % str(error).rstrip(".")
            )
        except gdb.error as error:
            raise trouble(
                "gdb cannot do this here (%s): stop inside the driver, in a program built with "
                "-g -O0, and try again." % str(error).rstrip(".")
            )
        except Exception as error:  # a mistake in this file; still one sentence
            raise trouble(
                "'nvme %s' stumbled over this state of the program (%s: %s): please report it, and "
                "use 'print' in the meantime."
                % (self.name, type(error).__name__, error)
            )


class Nvme(NvmeCommand):
    """Looks at NVMe queues, commands and registers of a program with nvme.h. See 'nvme help'."""

    def run(self, text):
        if text:
            raise trouble(
                "There is no command 'nvme %s': 'nvme help' lists them." % text.split()[0]
            )
        NvmeHelp.show()


class NvmeHelp(NvmeCommand):
    """nvme help: the list of the nvme commands."""

    name = "help"

    @staticmethod
    def show():
        for cls in COMMANDS:
            usage = ("nvme %s %s" % (cls.name, cls.usage)).strip()
            gdb.write("%-26s %s\n" % (usage, cls.__doc__.split(": ", 1)[1].strip()))
        gdb.write("Commands, completions and queue pairs also print well: print *qp\n")

    def run(self, text):
        self.show()


class NvmeRegs(NvmeCommand):
    """nvme regs: the registers of the controller, all or the named ones, field by field"""

    name = "regs"
    usage = "[REG...]"

    def run(self, text):
        known = tables.registers()
        for name in text.upper().split():
            if name not in known:
                raise trouble(
                    "There is no register '%s': the controller has %s." % (name, ", ".join(known))
                )
        found = find()
        regs = Registers(found.ctrlr)
        if text:
            for name in text.upper().split():
                say(register_lines(name, regs.read(*known[name][:2])))
            return
        say(
            [
                "Controller '%s' (found as %s)" % (found.ctrlr["dev"]["name"].string(), found.where),
                "Registers: %s" % regs.where,
            ]
        )
        zero = []
        size_of_bar = int(found.ctrlr["dev"]["bar0_size"])
        for name, (offset, size, _fields) in known.items():
            if offset + size > size_of_bar:
                continue
            value = regs.read(offset, size)
            if value or name in ("CC", "CSTS", "AQA", "ASQ", "ACQ"):
                lines = register_lines(name, value)
                lines[0] = "%04Xh  %s" % (offset, lines[0])
                say(lines)
            else:
                zero.append(name)
        if zero:
            say(["0:     " + " ".join(zero)])


class NvmeDecode(NvmeCommand):
    """nvme decode: a value of a register, field by field; REG is a name, an offset or STATUS"""

    name = "decode"
    usage = "REG VALUE"

    def run(self, text):
        words = text.split(None, 1)
        if len(words) != 2:
            raise trouble(
                "'nvme decode' needs a register and a value: for example 'nvme decode CC 0x464060'."
            )
        name, value = words[0].upper(), number(words[1], "a value")
        regs = tables.registers()
        if name in ("STATUS", "SF"):
            if value > 0xFFFF:
                raise trouble(
                    "%s is wider than the 16 bits of a status word: give the upper half of dword "
                    "3 of a completion, the member 'status'." % hexh(value)
                )
            return say(status_lines(value))
        if name not in regs and words[0][0].isdigit():
            by_offset = {at: reg for reg, (at, _size, _fields) in regs.items()}
            name = by_offset.get(number(words[0], "a register"), name)
        if name not in regs:
            raise trouble(
                "There is no register '%s': the ones that can be decoded are STATUS (of a "
                "completion), %s."
                % (words[0], ", ".join(reg for reg, (_a, _s, fields) in regs.items() if fields))
            )
        width = 8 * regs[name][1]
        if value >> 31 == (1 << 33) - 1 and width == 32:
            value &= 0xFFFFFFFF  # a negative int of the program, or -1 for all ones
        if value >= 1 << width:
            raise trouble(
                "%s is wider than %s, which has %d bits: check the value."
                % (hexh(value), name, width)
            )
        say(register_lines(name, value))


class NvmeWrite(NvmeCommand):
    """nvme write: the register write that the program is about to make, with its meaning"""

    name = "write"

    def run(self, text):
        if not is_running():
            raise trouble(
                "The program is not running, so it writes no register: type 'break "
                "nvme_mmio_write_4' and 'run'."
            )
        frame = gdb.newest_frame()
        if frame.name() != "nvme_mmio_write_4":
            raise trouble(
                "The program is not at a register write, but in %s(): type 'break "
                "nvme_mmio_write_4' and 'continue'." % (frame.name() or "code without a name")
            )
        offset, value = int(frame.read_var("offset")), int(frame.read_var("val"))
        found = find()
        name = offset_name(offset, stride_exponent(found.ctrlr))
        line = "%04Xh  %-8s <- %s" % (offset, name, hexh(value))
        if offset >= 0x1000:
            what = "tail" if "TDBL" in name else "head"
            say(["%s: the new %s of queue %s is slot %d" % (line, what, name[2:-4], value)])
            return
        say([line])
        if name in tables.registers() and tables.registers()[name][1] == 4:
            say(register_lines(name, value)[1:])
        elif name.endswith("+4"):
            say(["       the upper half of %s; the lower half came first" % name[:-2]])
        else:
            say(["       the lower half of %s, an address as the controller sees it" % name])


class NvmeRing(NvmeCommand):
    """nvme ring: both rings of a queue pair, slot by slot, with head, tail and phase"""

    name = "ring"
    usage = "[N]"

    def run(self, text):
        found = find()
        qp = pick_queue(text, found)
        out = int(qp["num_trackers"]) - int(qp["num_free"])
        say(
            [
                "Queue pair %d of '%s': %s outstanding, room for %d"
                % (
                    int(qp["id"]),
                    found.ctrlr["dev"]["name"].string(),
                    plural(out, "command"),
                    int(qp["num_trackers"]),
                )
            ]
        )
        if int(qp["failed"]):
            say(["This queue has failed (errno %d)." % -int(qp["failed"])])
        say(sq_lines(qp, soft_sq_head(found.ctrlr, int(qp["id"]))))
        say(cq_lines(qp))


class NvmeLast(NvmeCommand):
    """nvme last: the last command and the last completion of a queue pair"""

    name = "last"
    usage = "[N]"

    def run(self, text):
        found = find()
        qp = pick_queue(text, found)
        qid, entries = int(qp["id"]), int(qp["entries"])
        slot = (int(qp["sq_tail"]) - 1) % entries
        cmd, newest = qp["sq"][slot], newest_cqe(qp)
        if is_zero(cmd):
            say(["No command was sent on queue %d yet." % qid])
        else:
            say(["last command on queue %d, slot %d:" % (qid, slot), "  " + sqe_line(cmd, qid)])
        if newest is None:
            say(["No completion has come on queue %d yet." % qid])
            return
        taken = int(qp["cq"][newest]["status"]) & 1 != int(qp["phase"]) or newest == (
            (int(qp["cq_head"]) - 1) % entries
        )
        say(
            [
                "last completion on queue %d, slot %d, %s:"
                % (qid, newest, "taken by the driver" if taken else "not yet seen by the driver"),
                "  " + cqe_line(qp["cq"][newest]),
            ]
        )


class NvmePrp(NvmeCommand):
    """nvme prp: the memory pages that a command (or a tracker) points to"""

    name = "prp"
    usage = "CMD [BYTES]"

    def run(self, text):
        if not text:
            raise trouble(
                "'nvme prp' needs a command: for example 'nvme prp tr->cmd' or 'nvme prp qp->sq[0]'."
            )
        size = None
        try:
            value = gdb.parse_and_eval(text)
        except gdb.error:
            words = text.rsplit(None, 1)
            try:
                value = gdb.parse_and_eval(words[0])
            except gdb.error as error:
                raise trouble(
                    "'%s' means nothing here (%s): 'info locals' and 'info args' show the "
                    "variables of this frame, 'up' goes to its caller."
                    % (words[0], str(error).rstrip("."))
                )
            if len(words) == 2:
                size = number(words[1], "a number of bytes")
        for _ in range(2):
            if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR:
                value = value.dereference()
        if struct_tag(value.type) == "nvme_tracker":
            value = value["cmd"]
        if struct_tag(value.type) != "nvme_cmd":
            raise trouble(
                "'%s' is of type '%s', which is neither a command nor a tracker: give a struct "
                "nvme_cmd or a struct nvme_tracker, or a pointer to one." % (text, value.type)
            )
        found = find()
        qid = qid_for(value)
        if bits(value["flags"], 7, 6):
            raise trouble(
                "This command describes its data with an SGL, not with PRPs: print its member "
                "'dptr.sgl'."
            )
        lines = [sqe_line(value, qid)]
        if size is None and has_queue_address(value, qid):
            lines.append(
                "PRP1     0x%x is the ring itself, one contiguous piece (PC 1), %s"
                % (
                    int(value["dptr"]["prp"]["prp1"]),
                    entry_note(found.ctrlr, int(value["dptr"]["prp"]["prp1"])),
                )
            )
            return say(lines)
        if size is None and qid is not None and int(value["opc"]) & 3 == 0:
            lines.append("This command moves no data: bits 1:0 of its opcode are 0.")
            return say(lines)
        if size is None:
            size = transfer_bytes(value, qid, found.ctrlr)
        if size is not None and not 1 <= size <= 1 << 30:
            raise trouble("%d bytes are no transfer: give 1 to 1073741824." % size)
        say(lines + prp_lines(value, size, found.ctrlr))


COMMANDS = [NvmeRegs, NvmeRing, NvmeLast, NvmePrp, NvmeDecode, NvmeWrite, NvmeHelp]
Nvme()
for command in COMMANDS:
    command()


# ---- pretty printers -------------------------------------------------------------------------


class Printer:
    """Falls back to the plain structure when something cannot be read."""

    def __init__(self, value):
        self.value = value

    def safely(self, function, otherwise):
        try:
            return function()
        except (gdb.error, gdb.MemoryError, gdb.GdbError, ValueError, KeyError):
            return otherwise

    def to_string(self):
        return self.safely(self.text, "cannot be read")

    def children(self):
        return iter(self.safely(lambda: list(self.parts()), []))


class CmdPrinter(Printer):
    def text(self):
        if self.value.address is not None and is_zero(self.value):
            return "empty SQE"
        qid = qid_for(self.value)
        return "SQE %s" % opcode_name(int(self.value["opc"]), qid)

    def parts(self):
        cmd, qid = self.value, qid_for(self.value)
        yield "opc", "%02Xh" % int(cmd["opc"])
        yield "cid", "%d" % int(cmd["cid"])
        yield "nsid", "%d" % int(cmd["nsid"])
        yield from data_pointer(cmd)
        if bits(cmd["flags"], 1, 0):
            yield "FUSE", str(bits(cmd["flags"], 1, 0))
        yield from decoded_dwords(cmd, qid)


class CplPrinter(Printer):
    def text(self):
        if self.value.address is not None and is_zero(self.value):
            return "empty CQE"
        status = int(self.value["status"])
        sct, sc = bits(status, 11, 9), bits(status, 8, 1)
        return "CQE %s" % status_name(sct, sc)

    def parts(self):
        cpl, status = self.value, int(self.value["status"])
        yield "cdw0", hexh(cpl["cdw0"])
        for member in ("sqhd", "sqid", "cid"):
            yield member, "%d" % int(cpl[member])
        for hi, lo, name, _what in reversed(STATUS_FIELDS):
            yield name, hexh(bits(status, hi, lo))


class QpairPrinter(Printer):
    def text(self):
        qp = self.value
        out = int(qp["num_trackers"]) - int(qp["num_free"])
        return "queue pair %d, %d entries, %d outstanding" % (int(qp["id"]), int(qp["entries"]), out)

    def parts(self):
        qp = self.value
        dstrd = stride_exponent(qp["ctrlr"]) if ctrlr_ok(qp["ctrlr"]) else 0
        yield "sq", "0x%x (IOVA 0x%x)" % (int(qp["sq"]), int(qp["sq_iova"]))
        yield "sq_tail", "%d" % int(qp["sq_tail"])
        yield "sq_head", "%d (from SQHD)" % sq_head(qp)
        yield "sq_tdbl", "%Xh %s" % (int(qp["sq_tdbl"]), offset_name(int(qp["sq_tdbl"]), dstrd))
        yield "cq", "0x%x (IOVA 0x%x)" % (int(qp["cq"]), int(qp["cq_iova"]))
        yield "cq_head", "%d" % int(qp["cq_head"])
        yield "phase", "%d" % int(qp["phase"])
        yield "cq_hdbl", "%Xh %s" % (int(qp["cq_hdbl"]), offset_name(int(qp["cq_hdbl"]), dstrd))
        yield "num_free", "%d of %d CIDs" % (int(qp["num_free"]), int(qp["num_trackers"]))
        yield "max_xfer_size", "%d" % int(qp["max_xfer_size"])
        if int(qp["failed"]) or int(qp["refuse"]):
            yield "failed", "%d" % int(qp["failed"])
            yield "refuse", "%d" % int(qp["refuse"])


class TrackerPrinter(Printer):
    def text(self):
        tr = self.value
        state = "outstanding" if int(tr["outstanding"]) else "free"
        return "tracker of CID %d, %s" % (int(tr["cid"]), state)

    def parts(self):
        tr = self.value
        yield "cmd", tr["cmd"]
        yield "cb", tr["cb"]
        yield "prp_list", "0x%x (IOVA 0x%x)" % (int(tr["prp_list"]), int(tr["prp_list_iova"]))


class PrpPrinter(Printer):
    """A PRP list in the making."""

    def text(self):
        prp = self.value
        page, count = int(prp["page_size"]), int(prp["prp_index"])
        if page < 4096 or page & (page - 1) or count > 1 << 20:
            return "PRPs, not begun"
        if int(prp["list_used"]) > 0:  # with two pages, too, while the third is on its way
            what = "PRP1 and a list of %s" % plural(count - 1, "entry", "entries")
        else:
            what = {0: "nothing yet", 1: "PRP1 only"}.get(count, "PRP1 and PRP2")
        return "PRPs for %s, %s" % (plural(count, "page"), what)

    def parts(self):
        prp = self.value
        page, count = int(prp["page_size"]), int(prp["prp_index"])
        if page < 4096 or page & (page - 1) or count > 1 << 20:
            return
        listed = int(prp["list_used"]) > 0
        if count > 0:
            yield "prp1", "0x%x" % int(prp["prp1"])
        if count > 1:
            yield "prp2", "0x%x%s" % (int(prp["prp2"]), " (the list)" if listed else "")
        if listed:
            yield "list_pages", "%d of %d" % (int(prp["list_used"]), int(prp["list_pages"]))
            shown = min(count - 1, 3)
            if int(prp["list_used"]) == 1:
                for i in range(shown):
                    yield "prp[%d]" % i, "0x%x" % int(prp["list_base"][i])
                if count - 1 > shown:
                    last = count - 2
                    yield "prp[%d]" % last, "0x%x" % int(prp["list_base"][last])


PRINTERS = {
    "nvme_cmd": CmdPrinter,
    "nvme_cpl": CplPrinter,
    "nvme_qpair": QpairPrinter,
    "nvme_tracker": TrackerPrinter,
    "nvme_prp": PrpPrinter,
}


def lookup_printer(value):
    printer = PRINTERS.get(struct_tag(value.type))
    return printer(value) if printer else None


lookup_printer.name = "nvme.h"
gdb.pretty_printers[:] = [p for p in gdb.pretty_printers if getattr(p, "name", "") != "nvme.h"]
gdb.pretty_printers.append(lookup_printer)
