// SPDX-License-Identifier: MIT
/*
 * identify: everything an NVMe controller says about itself, as text or as JSON.
 *
 * Attaches to controllers, prints of each what PCI, its registers, Identify Controller, Identify
 * Namespace and the SMART and firmware log pages say, and detaches. It only asks: nothing is
 * written to the disk and no setting is changed.
 *
 *	identify [--json] [--all] [DEVICE...]		for example: identify 0000:01:00.0
 *
 * Without a device it asks the software controller. The device "all" is every controller that is
 * bound to vfio-pci. With several devices each has a headline of its own, or an object in JSON.
 *
 * Text is "key : value  title: meaning", with a line below it for each bit that is set. --all
 * adds the bits that are 0 and the optional registers that are 0.
 *
 * --json prints one object: pci, driver, registers, controller, smart, firmware, namespaces. The
 * keys are the field names of the specification in lower case, as nvme-cli has them. Numbers are
 * raw; what they mean is in the object "decoded" beside them. Fields of 128 bits are decimal
 * strings. (Beware of JSON readers that keep only 53 bits of a number.)
 *
 * The device is not trusted: its strings may hold anything and need not end, and its counts may
 * exceed the arrays that they count.
 */
#define NVME_IMPLEMENTATION
#include "nvme.h"
#include "device.h"

__extension__ typedef unsigned __int128 u128; /* capacities and SMART counters */

enum how {
	STR,    /* characters: they end at a zero or with the field, less the blanks before that */
	ID,     /* bytes as hexadecimal digits, in the order in which they are stored */
	UUID,   /* the same with dashes */
	HEX,    /* number shown in hexadecimal */
	DEC,    /* number shown in decimal, like all that follow */
	COUNT,  /* 0-based: 3 means 4 */
	LOG2,   /* exponent: 3 means 8, 0 nothing */
	QES,    /* exponents of queue entry sizes: maximum [7:4], required [3:0] */
	KELVIN, /* temperature, 0: not reported */
	POWER,  /* of a power state, with a scale beside it */
	VERSION /* as in register VS */
};

/*
 * One row for each field; text and JSON come from it. The title may name a unit in brackets:
 * "[100 ms]", "[4096 byte]", "[blocks]" of the namespace, "[pages]" of CAP.MPSMIN. After it may
 * come the bits: "; 3 name; 7:4 name of a number; 2:1 name=meaning of 0|meaning of 1|...".
 */
struct field {
	const char *key;    /* in JSON, and where a line of text begins */
	uint16_t off, size; /* in its structure, in bytes */
	enum how how;
	const char *title;
};

#define AT(type, member) offsetof(type, member), sizeof(((type *)0)->member)
#define TABLE(table)     (table), sizeof(table) / sizeof((table)[0])

struct pci { /* what the device table knows, and of a PCI slot the kernel */
	uint16_t vendor, device, subsystem_vendor, subsystem_device;
	uint8_t class[3], revision;
	/* each key is the name of a file in sysfs */
	char numa_node[32], current_link_speed[32], max_link_speed[32];
	char current_link_width[32], max_link_width[32];
};
#define P(member) #member, AT(struct pci, member)

static const struct field pci_fields[] = {
	{P(vendor), HEX, "PCI Vendor ID"},
	{P(device), HEX, "PCI Device ID"},
	{P(subsystem_vendor), HEX, "PCI Subsystem Vendor ID"},
	{P(subsystem_device), HEX, "PCI Subsystem Device ID"},
	{P(class), HEX, "PCI Class Code (010802h is NVMe)"},
	{P(revision), HEX, "PCI Revision ID"},
	{P(numa_node), STR, "NUMA Node (-1: unknown)"},
	{P(current_link_speed), STR, "Link Speed"},
	{P(max_link_speed), STR, "Link Speed, maximum"},
	{P(current_link_width), STR, "Link Width, lanes"},
	{P(max_link_width), STR, "Link Width, maximum"},
};

struct driver { /* what nvme.h made of it */
	uint32_t io_queues, queue_entries, page_size, max_xfer, doorbell_stride;
};
#define D(member) #member, AT(struct driver, member)

static const struct field driver_fields[] = {
	{D(io_queues), DEC, "I/O queue pairs that the controller granted"},
	{D(queue_entries), DEC, "Entries that an I/O queue may have (CAP.MQES + 1)"},
	{D(max_xfer), DEC, "Largest transfer of one command [1 byte]"},
	{D(page_size), DEC, "Smallest memory page (CAP.MPSMIN), the unit of MDTS [1 byte]"},
	{D(doorbell_stride), DEC, "Distance of doorbells (CAP.DSTRD) [1 byte]"},
};

#define C(member) #member, AT(struct nvme_id_ctrlr, member)

static const struct field ctrlr_fields[] = {
	{C(vid), HEX, "PCI Vendor ID"},
	{C(ssvid), HEX, "PCI Subsystem Vendor ID"},
	{C(sn), STR, "Serial Number"},
	{C(mn), STR, "Model Number"},
	{C(fr), STR, "Firmware Revision"},
	{C(rab), DEC, "Recommended Arbitration Burst, 2^n commands"},
	{C(ieee), HEX, "IEEE OUI Identifier"},
	{C(cmic), HEX,
         "Multi-Path I/O and Namespace Sharing; 0 Several ports; 1 Several controllers; 2 "
         "Function=PCI|SR-IOV virtual function; 3 ANA reporting"},
	{C(mdts), LOG2, "Maximum Data Transfer Size (0: no limit) [pages]"},
	{C(cntlid), DEC, "Controller ID"},
	{C(ver), VERSION, "NVMe Version"},
	{C(rtd3r), DEC, "RTD3 Resume Latency [1 us]"},
	{C(rtd3e), DEC, "RTD3 Entry Latency [1 us]"},
	{C(oaes), HEX,
         "Optional Asynchronous Events; 8 Namespace attribute; 9 Firmware activation; 11 ANA "
         "change; 12 Predictable latency; 13 LBA status; 14 Endurance group; 15 Normal subsystem "
         "shutdown; 16 Temperature hysteresis recovery; 17 Reachability groups; 19 Allocated "
         "namespace attribute; 27 Zone descriptor; 31 Discovery log"},
	{C(ctratt), HEX,
         "Controller Attributes; 0 128-bit host identifier; 1 Non-operational permissive mode; 2 "
         "NVM sets; 3 Read recovery levels; 4 Endurance groups; 5 Predictable latency mode; 6 "
         "Traffic based keep alive; 7 Namespace granularity; 8 SQ associations; 9 UUID list; 10 "
         "Multi-domain; 11 Fixed capacity management; 12 Variable capacity management; 13 Delete "
         "endurance group; 14 Delete NVM set; 15 Extended LBA formats; 16 MDTS excludes metadata; "
         "17 HMB restricted when non-operational; 18 Host identifier and reservations interact; 19 "
         "Flexible data placement"},
	{C(rrls), HEX, "Read Recovery Levels Supported, bit n: level n"},
	{C(bpcap), HEX,
         "Boot Partition Capabilities; 1:0 Write protection by RPMB=not specified|not "
         "supported|supported; 2 Write protection by Set Features"},
	{C(nssl), DEC, "NVM Subsystem Shutdown Latency [1 us]"},
	{C(plsi), HEX, "Power Loss Signaling; 0 Emergency power fail; 1 Forced quiescence"},
	{C(cntrltype), HEX, "Controller Type; 7:0 Type=not reported|I/O|discovery|administrative"},
	{C(fguid), ID, "FRU Globally Unique Identifier"},
	{C(crdt1), DEC, "Command Retry Delay Time 1 [100 ms]"},
	{C(crdt2), DEC, "Command Retry Delay Time 2 [100 ms]"},
	{C(crdt3), DEC, "Command Retry Delay Time 3 [100 ms]"},
	{C(crcap), HEX, "Controller Reachability; 0 Reachability reporting; 1 Changeable group ID"},
	{C(nvmsr), HEX, "NVM Subsystem Report; 0 Part of a storage device; 1 Part of an enclosure"},
	{C(vwci), HEX, "VPD Write Cycle Information; 6:0 Remaining; 7 Valid"},
	{C(mec), HEX, "Management Endpoint Capabilities; 0 On an SMBus/I2C port; 1 On a PCIe port"},
	{C(oacs), HEX,
         "Optional Admin Command Support; 0 Security Send, Receive; 1 Format NVM; 2 Firmware "
         "Commit, Download; 3 Namespace Management, Attachment; 4 Device Self-test; 5 Directives; "
         "6 NVMe-MI Send, Receive; 7 Virtualization Management; 8 Doorbell Buffer Config; 9 Get "
         "LBA Status; 10 Lockdown; 11 Live Migration"},
	{C(acl), COUNT, "Abort Command Limit"},
	{C(aerl), COUNT, "Asynchronous Event Request Limit"},
	{C(frmw), HEX,
         "Firmware Updates; 0 Slot 1 is read-only; 3:1 Firmware slots; 4 Activation without reset; "
         "5 Detects overlap"},
	{C(lpa), HEX,
         "Log Page Attributes; 0 SMART log per namespace; 1 Commands Supported and Effects log; 2 "
         "Extended data for Get Log Page; 3 Telemetry logs; 4 Persistent Event log; 5 Supported "
         "Log Pages and related logs; 6 Telemetry data area 4"},
	{C(elpe), COUNT, "Error Log Page Entries"},
	{C(npss), COUNT, "Number of Power States Support"},
	{C(avscc), HEX, "Admin Vendor Specific Commands; 0 Use the standard format"},
	{C(apsta), HEX, "Autonomous Power State Transitions; 0 Supported"},
	{C(wctemp), KELVIN, "Warning Composite Temperature Threshold"},
	{C(cctemp), KELVIN, "Critical Composite Temperature Threshold"},
	{C(mtfa), DEC, "Maximum Time for Firmware Activation [100 ms]"},
	{C(hmpre), DEC, "Host Memory Buffer Preferred Size [4096 byte]"},
	{C(hmmin), DEC, "Host Memory Buffer Minimum Size [4096 byte]"},
	{C(tnvmcap), DEC, "Total NVM Capacity [1 byte]"},
	{C(unvmcap), DEC, "Unallocated NVM Capacity [1 byte]"},
	{C(rpmbs), HEX,
         "Replay Protected Memory Blocks; 2:0 Units; 5:3 Authentication method; 23:16 Total size "
         "of a unit, 128 KiB, 0-based; 31:24 Access size, 512 bytes, 0-based"},
	{C(edstt), DEC, "Extended Device Self-test Time [1 min]"},
	{C(dsto), HEX, "Device Self-test Options; 0 One at a time in the NVM subsystem"},
	{C(fwug), DEC, "Firmware Update Granularity, 4 KiB (255: any)"},
	{C(kas), DEC, "Keep Alive Support [100 ms]"},
	{C(hctma), HEX, "Host Controlled Thermal Management; 0 Supported"},
	{C(mntmt), KELVIN, "Minimum Thermal Management Temperature"},
	{C(mxtmt), KELVIN, "Maximum Thermal Management Temperature"},
	{C(sanicap), HEX,
         "Sanitize Capabilities; 0 Crypto erase; 1 Block erase; 2 Overwrite; 3 Verification; 29 "
         "No-Deallocate After Sanitize is inhibited; 31:30 Media modified after sanitize=not "
         "defined|no|yes"},
	{C(hmminds), DEC, "Host Memory Buffer Minimum Descriptor Entry Size [4096 byte]"},
	{C(hmmaxd), DEC, "Host Memory Buffer Maximum Descriptor Entries"},
	{C(nsetidmax), DEC, "NVM Set Identifier Maximum"},
	{C(endgidmax), DEC, "Endurance Group Identifier Maximum"},
	{C(anatt), DEC, "ANA Transition Time [1 s]"},
	{C(anacap), HEX,
         "Asymmetric Namespace Access Capabilities; 0 Optimized; 1 Non-optimized; 2 Inaccessible; "
         "3 Persistent loss; 4 Change; 6 Group ID never changes; 7 Non-zero group ID"},
	{C(anagrpmax), DEC, "ANA Group Identifier Maximum"},
	{C(nanagrpid), DEC, "Number of ANA Group Identifiers"},
	{C(pels), DEC, "Persistent Event Log Size [65536 byte]"},
	{C(domainid), DEC, "Domain Identifier"},
	{C(kpioc), HEX,
         "Key Per I/O Capabilities; 0 Supported; 1 Scope=each namespace|all namespaces"},
	{C(megcap), DEC, "Maximum Endurance Group Capacity [1 byte]"},
	{C(sqes), QES, "Submission Queue Entry Size"},
	{C(cqes), QES, "Completion Queue Entry Size"},
	{C(maxcmd), DEC, "Maximum Outstanding Commands (0: not reported)"},
	{C(nn), DEC, "Number of Namespaces, the highest NSID"},
	{C(oncs), HEX,
         "Optional NVM Command Support; 0 Compare; 1 Write Uncorrectable; 2 Dataset Management "
         "(trim); 3 Write Zeroes; 4 Save and Select in features; 5 Reservations; 6 Timestamp; 7 "
         "Verify; 8 Copy; 9 Copy is atomic; 10 All copies are fast; 11 Write Zeroes of any size "
         "with deallocate; 12 Namespace zeroes"},
	{C(fuses), HEX, "Fused Operation Support; 0 Compare and Write"},
	{C(fna), HEX,
         "Format NVM Attributes; 0 Format applies to=one namespace|all namespaces; 1 Secure erase "
         "applies to=one namespace|all namespaces; 2 Cryptographic erase; 3 Format of all "
         "NSIDs=supported|not supported"},
	{C(vwc), HEX,
         "Volatile Write Cache; 0 Present; 2:1 Flush of all NSIDs=not reported|reserved|not "
         "supported|supported"},
	{C(awun), COUNT, "Atomic Write Unit Normal, blocks"},
	{C(awupf), COUNT, "Atomic Write Unit Power Fail, blocks"},
	{C(icsvscc), HEX, "I/O Vendor Specific Commands; 0 Use the standard format"},
	{C(nwpc), HEX,
         "Namespace Write Protection Capabilities; 0 Write protect; 1 Until power cycle; 2 "
         "Permanent"},
	{C(acwu), COUNT, "Atomic Compare and Write Unit, blocks"},
	{"ocfs", AT(struct nvme_id_ctrlr, cdfs), HEX, "Copy Formats Supported, bit n: format n"},
	{C(sgls), HEX,
         "SGL Support; 1:0 SGLs=no|yes, any alignment|yes, dword aligned; 2 Keyed data block; 15:8 "
         "Descriptor threshold; 16 Bit bucket; 17 Byte aligned contiguous metadata; 18 Length may "
         "exceed the data; 19 MPTR is an SGL; 20 Offsets; 21 Transport"},
	{C(mnan), DEC, "Maximum Number of Allowed Namespaces (0: see nn)"},
	{C(maxdna), DEC, "Maximum Domain Namespace Attachments"},
	{C(maxcna), DEC, "Maximum I/O Controller Namespace Attachments"},
	{C(subnqn), STR, "NVM Subsystem NVMe Qualified Name"},
};

/* rrt, rrl, rwt, rwl: rank of read and write throughput and latency, 0 is best */
static const struct field power_fields[] = {
	{"max_power", AT(struct nvme_psd, mp), POWER, "max"},
	{"flags", AT(struct nvme_psd, flags), HEX,
         "state; 1 State=operational|non-operational; 0 Scale of max_power=0.01 W|0.0001 W"},
	{"entry_lat", AT(struct nvme_psd, enlat), DEC, "entry [1 us]"},
	{"exit_lat", AT(struct nvme_psd, exlat), DEC, "exit [1 us]"},
	{"read_tput", AT(struct nvme_psd, rrt), DEC, "rrt"},
	{"read_lat", AT(struct nvme_psd, rrl), DEC, "rrl"},
	{"write_tput", AT(struct nvme_psd, rwt), DEC, "rwt"},
	{"write_lat", AT(struct nvme_psd, rwl), DEC, "rwl"},
	{"idle_power", AT(struct nvme_psd, idlp), POWER, "idle"},
	{"active_power", AT(struct nvme_psd, actp), POWER, "active"},
};

static const struct field lbaf_fields[] = {
	{"ds", AT(struct nvme_lbaf, lbads), LOG2, "data [1 byte]"},
	{"ms", AT(struct nvme_lbaf, ms), DEC, "metadata [1 byte]"},
	{"rp", AT(struct nvme_lbaf, rp), DEC, "performance rank"},
};

struct ns_view { /* Identify Namespace, and what is known from elsewhere */
	struct nvme_id_ns id;
	uint32_t nsid, max_nlb;
	uint8_t lbaf_in_use, uuid[16];
};
#define N(member) #member, AT(struct ns_view, id.member)
#define V(member) #member, AT(struct ns_view, member)

static const struct field ns_fields[] = {
	{V(nsid), DEC, "Namespace Identifier"},
	{N(nsze), DEC, "Size [blocks]"},
	{N(ncap), DEC, "Capacity [blocks]"},
	{N(nuse), DEC, "Utilization [blocks]"},
	{N(nsfeat), HEX,
         "Namespace Features; 0 Thin provisioning; 1 Atomic write fields are valid; 2 Error for "
         "deallocated blocks; 3 Identifiers are never reused; 5:4 Preferred write fields=not "
         "valid|valid with NPDG|valid with NPDGL|valid with NPDG and NPDGL; 6 Multiple atomicity "
         "mode; 7 Preferred read fields are valid"},
	{N(nlbaf), COUNT, "Number of LBA Formats"},
	{N(flbas), HEX,
         "Formatted LBA Size; 3:0 Format, low bits; 4 Metadata=separate buffer|with each block; "
         "6:5 Format, high bits"},
	{V(lbaf_in_use), DEC, "LBA Format in use"},
	{N(mc), HEX, "Metadata Capabilities; 0 At the end of each block; 1 In a separate buffer"},
	{N(dpc), HEX,
         "Data Protection Capabilities; 0 Type 1; 1 Type 2; 2 Type 3; 3 In first bytes; 4 In last "
         "bytes"},
	{N(dps), HEX,
         "Data Protection Settings; 2:0 Protection information=disabled|type 1|type 2|type 3; 3 "
         "Position in the metadata=last bytes|first bytes"},
	{N(nmic), HEX, "Multi-Path I/O and Sharing; 0 Shared between controllers; 1 Dispersed"},
	{N(rescap), HEX,
         "Reservation Capabilities; 0 Persist through power loss; 1 Write exclusive; 2 Exclusive "
         "access; 3 Write exclusive, registrants only; 4 Exclusive access, registrants only; 5 "
         "Write exclusive, all registrants; 6 Exclusive access, all registrants; 7 Ignore existing "
         "key as in 1.3"},
	{N(fpi), HEX, "Format Progress Indicator; 6:0 Percent that remain; 7 Supported"},
	{N(dlfeat), HEX,
         "Deallocated Blocks; 2:0 Read as=not reported|00h|FFh; 3 Write Zeroes can deallocate; 4 "
         "Guard is the CRC of that"},
	{N(nawun), COUNT, "Atomic Write Unit Normal [blocks]"},
	{N(nawupf), COUNT, "Atomic Write Unit Power Fail [blocks]"},
	{N(nacwu), COUNT, "Atomic Compare and Write Unit [blocks]"},
	{N(nabsn), DEC, "Atomic Boundary Size Normal, 0-based (0: none)"},
	{N(nabo), DEC, "Atomic Boundary Offset, blocks"},
	{N(nabspf), DEC, "Atomic Boundary Size Power Fail, 0-based (0: none)"},
	{N(noiob), DEC, "Optimal I/O Boundary (0: none) [blocks]"},
	{N(nvmcap), DEC, "NVM Capacity [1 byte]"},
	{N(npwg), COUNT, "Preferred Write Granularity [blocks]"},
	{N(npwa), COUNT, "Preferred Write Alignment [blocks]"},
	{N(npdg), COUNT, "Preferred Deallocate Granularity [blocks]"},
	{N(npda), COUNT, "Preferred Deallocate Alignment [blocks]"},
	{N(nows), COUNT, "Optimal Write Size [blocks]"},
	{N(mssrl), DEC, "Maximum Single Source Range Length (Copy) [blocks]"},
	{N(mcl), DEC, "Maximum Copy Length [blocks]"},
	{N(msrc), COUNT, "Maximum Source Range Count (Copy)"},
	{N(nulbaf), DEC, "Number of Unique Attribute LBA Formats"},
	{N(anagrpid), DEC, "ANA Group Identifier"},
	{N(nsattr), HEX, "Namespace Attributes; 0 Write protected"},
	{N(nvmsetid), DEC, "NVM Set Identifier"},
	{N(endgid), DEC, "Endurance Group Identifier"},
	{N(nguid), ID, "Namespace Globally Unique Identifier"},
	{N(eui64), ID, "IEEE Extended Unique Identifier"},
	{V(uuid), UUID, "Universally Unique Identifier"},
	{V(max_nlb), DEC, "Most blocks of one command [blocks]"},
};

#define S(member) AT(struct nvme_smart_log, member)

static const struct field smart_fields[] = {
	{"critical_warning", S(critical_warning), HEX,
         "Critical Warning; 0 Spare below threshold; 1 Temperature; 2 Reliability degraded; 3 "
         "Media read-only; 4 Volatile memory backup failed; 5 Persistent memory region unreliable"},
	{"temperature", S(temperature), KELVIN, "Composite Temperature"},
	{"avail_spare", S(avsp), DEC, "Available Spare [1 %]"},
	{"spare_thresh", S(avspt), DEC, "Available Spare Threshold [1 %]"},
	{"percent_used", S(pused), DEC, "Percentage Used [1 %]"},
	{"egcws", S(egcws), HEX,
         "Endurance Group Critical Warning Summary; 0 Spare below threshold; 2 Reliability "
         "degraded; 3 Read-only"},
	{"data_units_read", S(data_units_read), DEC, "Data Units Read [512000 byte]"},
	{"data_units_written", S(data_units_written), DEC, "Data Units Written [512000 byte]"},
	{"host_read_commands", S(host_reads), DEC, "Host Read Commands"},
	{"host_write_commands", S(host_writes), DEC, "Host Write Commands"},
	{"controller_busy_time", S(busy_time), DEC, "Controller Busy Time [1 min]"},
	{"power_cycles", S(power_cycles), DEC, "Power Cycles"},
	{"power_on_hours", S(power_on_hours), DEC, "Power On Hours [1 h]"},
	{"unsafe_shutdowns", S(unsafe_shutdowns), DEC, "Unexpected Power Losses"},
	{"media_errors", S(media_errors), DEC, "Media and Data Integrity Errors"},
	{"num_err_log_entries", S(error_log_entries), DEC, "Error Log Entries, ever"},
	{"warning_temp_time", S(wctt), DEC, "Time above the warning temperature [1 min]"},
	{"critical_comp_time", S(cctt), DEC, "Time above the critical temperature [1 min]"},
	{"temperature_sensor_1", S(tsen[0]), KELVIN, "Temperature Sensor 1"},
	{"temperature_sensor_2", S(tsen[1]), KELVIN, "Temperature Sensor 2"},
	{"thm_temp1_trans_count", S(tmt1tc), DEC, "Thermal Management 1 Transitions"},
	{"thm_temp2_trans_count", S(tmt2tc), DEC, "Thermal Management 2 Transitions"},
	{"thm_temp1_total_time", S(tttmt1), DEC, "Thermal Management 1 Total Time [1 s]"},
	{"thm_temp2_total_time", S(tttmt2), DEC, "Thermal Management 2 Total Time [1 s]"},
};

#define W(member) AT(struct nvme_fw_slot_log, member)

static const struct field firmware_fields[] = {
	{"afi", W(afi), HEX,
         "Active Firmware Info; 2:0 Slot running now; 6:4 Slot after the next reset"},
	{"frs1", W(frs[0]), STR, "Slot 1"},
	{"frs2", W(frs[1]), STR, "Slot 2"},
	{"frs3", W(frs[2]), STR, "Slot 3"},
	{"frs4", W(frs[3]), STR, "Slot 4"},
	{"frs5", W(frs[4]), STR, "Slot 5"},
	{"frs6", W(frs[5]), STR, "Slot 6"},
	{"frs7", W(frs[6]), STR, "Slot 7"},
};

/* ---- JSON ---- */

static struct {
	bool json, all;
	bool comma;                     /* something stands before the next JSON element */
	int depth;                      /* of JSON brackets */
	uint32_t page_size, block_size; /* units; blocks are those of the current namespace */
} out;

/* The json_ functions write nothing when the output is text. */

/* The name of an element, with all that must stand before it. NULL: an element of an array. */
static void json_name(const char *name)
{
	printf("%s\n%*s", out.comma ? "," : "", 2 * out.depth, "");
	for (const char *p = name; p != NULL && *p != '\0'; p++)
		printf("%s%c", p == name ? "\"" : "", tolower((unsigned char)*p));
	printf(name != NULL ? "\": " : "");
	out.comma = true;
}

static void json_open(const char *name, char bracket)
{
	if (!out.json)
		return;
	json_name(name);
	putchar(bracket);
	out.depth++;
	out.comma = false;
}

static void json_close(char bracket)
{
	if (!out.json)
		return;
	out.depth--;
	printf("\n%*s%c", 2 * out.depth, "", bracket);
	out.comma = true;
}

/* A string, or with quote "" a number or a word such as true. */
static void json_value(const char *name, const char *value, const char *quote)
{
	if (!out.json)
		return;
	json_name(name);
	printf("%s%s%s", quote, value, quote);
}

static void open_section(const char *name, const char *headline)
{
	json_open(name, '{');
	if (!out.json)
		printf("\n== %s ==\n", headline);
}

/* ---- one field ---- */

static u128 number(const struct field *f, const uint8_t *base)
{
	u128 v = 0;

	memcpy(&v, base + f->off, f->size <= sizeof(v) ? f->size : sizeof(v)); /* little-endian */
	return v;
}

static const char *decimal(char buf[40], u128 v)
{
	char *p = buf + 39;

	*p = '\0';
	do
		*--p = (char)('0' + (int)(v % 10));
	while ((v /= 10) != 0);
	return p;
}

/* Only printable ASCII comes out, whatever the device put in. */
static void format_string(char *buf, size_t size, const uint8_t *s, size_t n)
{
	size_t len = 0;

	n = strnlen((const char *)s, n);
	while (n > 0 && s[n - 1] == ' ')
		n--;
	buf[0] = '\0';
	for (; n > 0 && size - len > 6; s++, n--) {
		const char *format = out.json ? "\\u%04x" : "\\x%02x";

		if (*s >= ' ' && *s < 0x7f)
			format = *s == '\\' || (*s == '"' && out.json) ? "\\%c" : "%c";
		len += (size_t)snprintf(buf + len, size - len, format, *s);
	}
}

/* The raw value. JSON has up to 64 bits as a number; see print_json() for the quotes. */
static void format_value(char *buf, size_t size, const struct field *f, const uint8_t *base)
{
	char digits[40];

	if (f->how == STR) {
		format_string(buf, size, base + f->off, f->size);
	} else if (f->how == ID || f->how == UUID) {
		for (size_t i = 0; i < f->size; i++) {
			bool dash = f->how == UUID && i % 2 == 0 && i >= 4 && i <= 10;

			buf += snprintf(buf, 4, "%s%02x", dash ? "-" : "", base[f->off + i]);
		}
	} else if (!out.json && (f->how == HEX || f->how == QES || f->how == VERSION)) {
		snprintf(buf, size, "0x%0*" PRIx64, 2 * f->size, (uint64_t)number(f, base));
	} else {
		snprintf(buf, size, "%s", decimal(digits, number(f, base)));
	}
}

/* "500107862016 bytes (465.76 GiB, 500.11 GB)" */
static void format_size(char *buf, size_t size, u128 bytes)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double d = (double)bytes;
	char digits[40], gb[32] = "";
	int unit = 0;

	for (; d >= 1024 && unit < 6; unit++)
		d /= 1024;
	if (unit > 2)
		snprintf(gb, sizeof(gb), ", %.2f GB", (double)bytes / 1e9);
	if (unit == 0)
		snprintf(buf, size, "%s bytes", decimal(digits, bytes));
	else
		snprintf(buf, size, "%s bytes (%.*f %s%s)", decimal(digits, bytes),
		         bytes % ((u128)1 << 10 * unit) == 0 ? 0 : 2, d, units[unit], gb);
}

/* MXPS for the maximum, IPS and APS for the others say what it counts: 1 is 0.0001 W, 2 0.01 W. */
static void format_power(char *buf, size_t size, const struct field *f, const uint8_t *base)
{
	unsigned scale = f->off == 0 ? 2 - (base[3] & 1u) : base[f->off + 2] >> 6;
	double value = (double)number(f, base);

	if (scale == 1 || scale == 2)
		snprintf(buf, size, "%.*f W", scale == 1 ? 4 : 2, value / (scale == 1 ? 1e4 : 1e2));
	else
		snprintf(buf, size, "not reported");
}

/* "[100 ms]" and v 3: "300 ms" */
static void format_unit(char *buf, size_t size, const char *unit, u128 v)
{
	char digits[40], *name;
	uint32_t scale = (uint32_t)strtoul(unit + 1, &name, 10);
	int n = 0;

	if (strncmp(name, "blocks", 6) == 0) {
		n = snprintf(buf, size, "%s block%s, ", decimal(digits, v), v == 1 ? "" : "s");
		format_size(buf + n, size - (size_t)n, v * out.block_size);
	} else if (strncmp(name, "pages", 5) == 0) {
		format_size(buf, size, v * out.page_size);
	} else if (strncmp(name, " byte", 5) == 0) {
		format_size(buf, size, v * scale);
	} else {
		n = snprintf(buf, size, "%s%s", decimal(digits, v * scale), name);
		buf[n - 1] = '\0'; /* the bracket */
	}
}

/* What the value means; nothing if it is just a number. */
static void format_meaning(char *buf, size_t size, const struct field *f, const uint8_t *base)
{
	const char *unit = strchr(f->title, '[');
	u128 v = number(f, base) + (f->how == COUNT);
	unsigned low = (unsigned)v;
	char digits[40];

	buf[0] = '\0';
	if (f->how == LOG2)
		v = v == 0 || v > 63 ? 0 : (u128)1 << low;
	if (unit != NULL && v != 0)
		format_unit(buf, size, unit, v);
	else if (f->how == COUNT)
		snprintf(buf, size, "%s", decimal(digits, v));
	else if (f->how == LOG2 && low != 0)
		snprintf(buf, size, "out of range");
	else if (f->how == QES)
		snprintf(buf, size, "%u bytes required, %u bytes maximum",
		         1u << NVME_GET(low, NVME_ID_QES_MIN),
		         1u << NVME_GET(low, NVME_ID_QES_MAX));
	else if (f->how == POWER)
		format_power(buf, size, f, base);
	else if (f->how == VERSION)
		nvme_format_version(buf, size, low);
	else if (v == 0 && (f->how == ID || f->how == UUID || f->how == KELVIN))
		snprintf(buf, size, "not reported");
	else if (f->how == KELVIN)
		snprintf(buf, size, "%u K, %d C", low, (int)low - 273);
}

struct bits {
	unsigned hi, lo;
	uint64_t value;
	bool coded; /* the title says what the values mean */
	char name[64], text[48];
};

/* Takes the next bits of a title apart. Returns where the search goes on, or NULL at the end. */
static const char *next_bits(struct bits *b, const char *title, u128 number)
{
	const char *p = strchr(title, ';');
	char *name;
	int len;

	if (p == NULL)
		return NULL;
	b->hi = b->lo = (unsigned)strtoul(p + 1, &name, 10);
	if (*name == ':')
		b->lo = (unsigned)strtoul(name + 1, &name, 10);
	b->value = nvme_bits((uint64_t)number, b->hi, b->lo);
	len = (int)strcspn(++name, "=;");
	snprintf(b->name, sizeof(b->name), "%.*s", len, name);
	p = name + len;
	b->coded = *p == '=';
	if (b->coded)
		snprintf(b->text, sizeof(b->text), "reserved");
	else if (b->hi == b->lo)
		snprintf(b->text, sizeof(b->text), b->value ? "true" : "false");
	else
		snprintf(b->text, sizeof(b->text), "%" PRIu64, b->value);
	for (uint64_t code = 0; *p == '=' || *p == '|'; code++, p += len) {
		len = (int)strcspn(++p, "|;");
		if (code == b->value)
			snprintf(b->text, sizeof(b->text), "%.*s", len, p);
	}
	return p;
}

/* ---- all fields of a structure ---- */

#define VALUE_MAX (6 * 256 + 1) /* SUBNQN, each byte as \u00ff */

static void print_json(const struct field *fields, size_t n, const uint8_t *base)
{
	char text[VALUE_MAX];
	struct bits b;

	for (const struct field *f = fields; f < fields + n; f++) {
		format_value(text, sizeof(text), f, base);
		json_value(f->key, text, f->how <= UUID || f->size > 8 ? "\"" : "");
	}
	json_open("decoded", '{');
	for (const struct field *f = fields; f < fields + n; f++) {
		const char *p = next_bits(&b, f->title, number(f, base));

		format_meaning(text, sizeof(text), f, base);
		if (text[0] != '\0')
			json_value(f->key, text, "\"");
		if (p == NULL)
			continue;
		json_open(f->key, '{');
		for (; p != NULL; p = next_bits(&b, p, number(f, base)))
			json_value(b.name, b.text, b.coded ? "\"" : "");
		json_close('}');
	}
	json_close('}');
}

/* The title alone, without unit and bits. */
static int title_len(const struct field *f)
{
	size_t n = strcspn(f->title, "[;");

	return (int)(f->title[n] == '[' ? n - 1 : n);
}

static void print_fields(const struct field *fields, size_t n, const void *base)
{
	char value[VALUE_MAX], meaning[160];
	struct bits b;
	int width = 0;

	if (out.json)
		print_json(fields, n, base);
	for (const struct field *f = fields; f < fields + n; f++)
		width = (int)strlen(f->key) > width ? (int)strlen(f->key) : width;
	for (const struct field *f = fields; f < fields + n && !out.json; f++) {
		const char *p = f->title;

		format_value(value, sizeof(value), f, base);
		format_meaning(meaning, sizeof(meaning), f, base);
		printf("%-*s : %-16s  %.*s%s%s\n", width, f->key, value, title_len(f), f->title,
		       meaning[0] ? ": " : "", meaning);
		while ((p = next_bits(&b, p, number(f, base))) != NULL) {
			if (b.value != 0 || b.coded || out.all)
				printf("%*s[%u:%u] %s%" PRIx64 " %s%s%s\n", width + 3, "", b.hi,
				       b.lo, b.value ? "0x" : "", b.value, b.name,
				       b.coded ? ": " : "", b.coded ? b.text : "");
		}
	}
}

/* An array of structures; in text one line for each, such as "psds 0: max 25.00 W, ...". */
static void print_array(const char *name, const struct field *fields, size_t n, const void *array,
                        size_t stride, size_t count, size_t in_use)
{
	char value[64], meaning[160];
	struct bits b;

	json_open(name, '[');
	for (size_t k = 0; k < count; k++) {
		const uint8_t *base = (const uint8_t *)array + k * stride;

		if (out.json) {
			json_open(NULL, '{');
			print_json(fields, n, base);
			json_close('}');
			continue;
		}
		printf("%s %zu:", name, k);
		for (const struct field *f = fields; f < fields + n; f++) {
			format_value(value, sizeof(value), f, base);
			format_meaning(meaning, sizeof(meaning), f, base);
			if (next_bits(&b, f->title, number(f, base)) != NULL)
				snprintf(meaning, sizeof(meaning), "%s", b.text);
			printf("%s %.*s %s", f > fields ? "," : "", title_len(f), f->title,
			       meaning[0] ? meaning : value);
		}
		printf("%s\n", k == in_use ? " (in use)" : "");
	}
	json_close(']');
}

/* ---- sections ---- */

static void print_pci(const struct nvme_dev *dev)
{
	struct pci pci;

	memset(&pci, 0, sizeof(pci));
	pci.vendor = dev->vendor_id;
	pci.device = dev->device_id;
	pci.subsystem_vendor = dev->subsystem_vendor_id;
	pci.subsystem_device = dev->subsystem_device_id;
	memcpy(pci.class, &dev->class_code, sizeof(pci.class));
	pci.revision = dev->revision_id;
	for (size_t i = 0; i < sizeof(pci_fields) / sizeof(pci_fields[0]); i++) {
		const struct field *f = &pci_fields[i];
		char path[96], *line = (char *)&pci + f->off;
		FILE *file;

		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", dev->name, f->key);
		file = f->how == STR ? fopen(path, "r") : NULL; /* none for a device in software */
		if (file != NULL && fgets(line, f->size, file) != NULL)
			line[strcspn(line, "\n")] = '\0';
		if (file != NULL)
			fclose(file);
	}
	open_section("pci", "PCI");
	print_fields(TABLE(pci_fields), &pci);
	json_close('}');
}

static void print_driver(struct nvme_ctrlr *ctrlr)
{
	uint64_t cap = nvme_ctrlr_get_reg_8(ctrlr, NVME_REG_CAP);
	struct driver driver = {
		.io_queues = nvme_ctrlr_get_num_io_queues(ctrlr),
		.queue_entries = NVME_GET(cap, NVME_CAP_MQES) + 1,
		.page_size = 4096u << NVME_GET(cap, NVME_CAP_MPSMIN),
		.max_xfer = nvme_ctrlr_get_max_xfer_size(ctrlr),
		.doorbell_stride = 4u << NVME_GET(cap, NVME_CAP_DSTRD),
	};

	out.page_size = driver.page_size;
	open_section("driver", "Limits of this driver with this controller");
	print_fields(TABLE(driver_fields), &driver);
	json_close('}');
}

static void print_register(uint32_t offset, uint64_t value)
{
	char text[160];

	snprintf(text, sizeof(text), "0x%0*" PRIx64, 2 * (int)nvme_reg_size(offset), value);
	json_open(nvme_reg_name(offset), '{');
	json_value("value", text, "\"");
	if (!out.json)
		printf("%-8s : %s\n", nvme_reg_name(offset), text);
	for (const struct nvme_field *f = nvme_reg_fields(offset); f->name != NULL; f++) {
		uint64_t v = nvme_bits(value, f->hi, f->lo);

		if (!out.json) {
			nvme_format_field(text, sizeof(text), f, value);
			printf("%11s%-44s  %s\n", "", text, f->what);
			continue;
		}
		json_open(f->name, '{');
		snprintf(text, sizeof(text), "%" PRIu64, v);
		json_value("value", text, "");
		nvme_format_field_value(text, sizeof(text), f, v);
		json_value("text", text, "\"");
		json_close('}');
	}
	json_close('}');
}

static void print_registers(struct nvme_ctrlr *ctrlr)
{
	open_section("registers", "Registers");
	for (uint32_t offset = 0; offset < NVME_REG_DOORBELLS; offset += 4) {
		unsigned size = nvme_reg_size(offset);
		uint64_t value = 0;

		if (size != 0)
			value = size == 8 ? nvme_ctrlr_get_reg_8(ctrlr, offset)
			                  : nvme_ctrlr_get_reg_4(ctrlr, offset);
		if (size != 0 && (value != 0 || offset < NVME_REG_CMBLOC || out.json || out.all))
			print_register(offset, value);
	}
	json_close('}');
}

static void print_ctrlr(struct nvme_ctrlr *ctrlr)
{
	const struct nvme_id_ctrlr *id = nvme_ctrlr_get_data(ctrlr);
	size_t states = id->npss < 32 ? id->npss + 1u : 32;

	open_section("controller", "Identify Controller");
	print_fields(TABLE(ctrlr_fields), id);
	print_array("psds", TABLE(power_fields), id->psd, sizeof(id->psd[0]), states, SIZE_MAX);
	json_close('}');
}

/* Reading acknowledges an asynchronous event, but after the reset by nvme_attach() none is left. */
static void print_log_page(struct nvme_ctrlr *ctrlr, uint8_t lid, const char *name,
                           const char *headline, const struct field *fields, size_t n)
{
	uint8_t page[512];
	struct nvme_cmd cmd;

	memset(&cmd, 0, sizeof(cmd));
	cmd.opc = NVME_OPC_GET_LOG_PAGE;
	cmd.nsid = NVME_NSID_ALL;
	cmd.cdw10 = NVME_SET(lid, NVME_GET_LOG_PAGE_LID) |
	            NVME_SET(sizeof(page) / 4 - 1, NVME_GET_LOG_PAGE_NUMDL);
	if (nvme_ctrlr_admin(ctrlr, &cmd, page, sizeof(page), NULL) != 0)
		return; /* the driver has printed the status; the section is left out */
	open_section(name, headline);
	print_fields(fields, n, page);
	json_close('}');
}

static void print_ns(struct nvme_ns *ns)
{
	const uint8_t *uuid = nvme_ns_get_uuid(ns);
	struct ns_view view;
	unsigned formats;
	char headline[48];

	memset(&view, 0, sizeof(view));
	view.id = *nvme_ns_get_data(ns);
	view.nsid = nvme_ns_get_id(ns);
	view.max_nlb = nvme_ns_get_max_nlb(ns, NULL);
	view.lbaf_in_use = (uint8_t)NVME_FLBAS_INDEX(view.id.flbas);
	if (uuid != NULL)
		memcpy(view.uuid, uuid, sizeof(view.uuid));
	out.block_size = nvme_ns_get_sector_size(ns);
	formats = view.id.nlbaf + 1u + view.id.nulbaf;

	snprintf(headline, sizeof(headline), "Identify Namespace %" PRIu32, view.nsid);
	open_section(NULL, headline);
	print_fields(TABLE(ns_fields), &view);
	print_array("lbafs", TABLE(lbaf_fields), view.id.lbaf, sizeof(view.id.lbaf[0]),
	            formats < 64 ? formats : 64, view.lbaf_in_use);
	json_close('}');
}

static void identify(struct nvme_ctrlr *ctrlr)
{
	uint32_t nsid = nvme_ctrlr_get_first_active_ns(ctrlr);

	json_open(NULL, '{');
	print_pci(nvme_ctrlr_get_dev(ctrlr));
	print_driver(ctrlr);
	print_registers(ctrlr);
	print_ctrlr(ctrlr);
	print_log_page(ctrlr, NVME_LOG_PAGE_SMART, "smart", "SMART / Health Information",
	               TABLE(smart_fields));
	print_log_page(ctrlr, NVME_LOG_PAGE_FIRMWARE_SLOT, "firmware", "Firmware Slots",
	               TABLE(firmware_fields));
	json_open("namespaces", '[');
	for (; nsid != 0; nsid = nvme_ctrlr_get_next_active_ns(ctrlr, nsid))
		print_ns(nvme_ctrlr_get_ns(ctrlr, nsid));
	json_close(']');
	json_close('}');
	printf(out.json ? "\n" : "");
}

struct told {
	unsigned count; /* controllers that were asked */
	bool several;   /* there may be */
	bool failed;    /* one did not end well */
};

/* Runs in nvme_probe(), for each controller that is attached. */
static void attach_cb(void *ctx, const struct nvme_transport_id *trid, struct nvme_ctrlr *ctrlr,
                      const struct nvme_ctrlr_opts *opts)
{
	struct told *told = ctx;

	(void)opts;
	if (told->several && !out.json)
		printf("%s==== %s ====\n", told->count > 0 ? "\n" : "", trid->traddr);
	out.comma = false;
	identify(ctrlr);
	told->count++;
	if (nvme_detach(ctrlr) != 0)
		told->failed = true;
}

/* Options and devices, in any order; the devices come to names. How many, or -1: one is wrong. */
static int parse_arguments(int argc, char **argv, char **names)
{
	int count = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			out.json = true;
		else if (strcmp(argv[i], "--all") == 0)
			out.all = true;
		else if (argv[i][0] != '-')
			names[count++] = argv[i];
		else {
			fprintf(stderr, "identify: there is no option '%s'\n", argv[i]);
			return -1;
		}
	}
	return count;
}

int main(int argc, char **argv)
{
	int count = parse_arguments(argc, argv, argv), rc;
	struct told told = {0, false, false};
	struct devices devices;

	if (count < 0) {
		fprintf(stderr, "usage: identify [--json] [--all] [DEVICE...]\n" DEVICES_USAGE);
		return 2;
	}
	if (name_devices(&devices, argv, count) != 0)
		return 2;
	told.several = count > 1 || !devices.opts.devs_only;
	/* If one fails the driver has said why, and there may be others. */
	rc = nvme_probe(NULL, &told, NULL, attach_cb, &devices.opts) != 0 || told.failed;
	if (rc == 0 && told.count == 0)
		return no_device("identify");
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr,
		        "identify: the output is incomplete (%s): make room where it goes\n",
		        strerror(errno));
		rc = 1;
	}
	return rc;
}
