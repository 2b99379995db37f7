// SPDX-License-Identifier: MIT
/*
 * What features are made of [Base 2.1: Feature Identifiers].
 */
#include "feat.h"

#define END                         \
	{                           \
		0, 0, 0, NULL, NULL \
	}

static const struct nvme_cmd_field none[] = {END};

static const struct nvme_cmd_field arbitration[] = {
	{11, 31, 24, "HPW", "High Priority Weight"},
	{11, 23, 16, "MPW", "Medium Priority Weight"},
	{11, 15, 8, "LPW", "Low Priority Weight"},
	{11, 2, 0, "AB", "Arbitration Burst"},
	END,
};

static const struct nvme_cmd_field power[] = {
	{11, NVME_POWER_WH, "WH", "Workload Hint"},
	{11, NVME_POWER_PS, "PS", "Power State"},
	END,
};

static const struct nvme_cmd_field lba_range[] = {
	{11, 5, 0, "NUM", "Number of LBA Ranges"},
	END,
};

static const struct nvme_cmd_field temperature[] = {
	{11, 21, 20, "THSEL", "Threshold Type Select"},
	{11, 19, 16, "TMPSEL", "Threshold Temperature Select"},
	{11, 15, 0, "TMPTH", "Temperature Threshold"},
	END,
};

static const struct nvme_cmd_field recovery[] = {
	{11, 16, 16, "DULBE", "Deallocated or Unwritten Logical Block Error Enable"},
	{11, 15, 0, "TLER", "Time Limited Error Recovery"},
	END,
};

static const struct nvme_cmd_field write_cache[] = {
	{11, 0, 0, "WCE", "Volatile Write Cache Enable"},
	END,
};

static const struct nvme_cmd_field queues[] = {
	{11, 31, 16, "NCQR", "Number of I/O Completion Queues Requested"},
	{11, 15, 0, "NSQR", "Number of I/O Submission Queues Requested"},
	END,
};

static const struct nvme_cmd_field coalescing[] = {
	{11, 15, 8, "TIME", "Aggregation Time"},
	{11, 7, 0, "THR", "Aggregation Threshold"},
	END,
};

static const struct nvme_cmd_field vector[] = {
	{11, 16, 16, "CD", "Coalescing Disable"},
	{11, 15, 0, "IV", "Interrupt Vector"},
	END,
};

static const struct nvme_cmd_field atomicity[] = {
	{11, 0, 0, "DN", "Disable Normal"},
	END,
};

static const struct nvme_cmd_field events[] = {
	{11, 27, 27, "ZDCN", "Zone Descriptor Changed Notices"},
	{11, 14, 14, "EGEALCN", "Endurance Group Event Aggregate Log Change Notices"},
	{11, 13, 13, "LBASIAN", "LBA Status Information Alert Notices"},
	{11, 12, 12, "PLEALCN", "Predictable Latency Event Aggregate Log Change Notices"},
	{11, 11, 11, "ANACN", "Asymmetric Namespace Access Change Notices"},
	{11, 10, 10, "TLN", "Telemetry Log Notices"},
	{11, 9, 9, "FAN", "Firmware Activation Notices"},
	{11, 8, 8, "NAN", "Namespace Attribute Notices"},
	{11, NVME_AEC_SMART, "SHCW", "SMART / Health Critical Warnings"},
	END,
};

static const struct nvme_cmd_field apst[] = {
	{11, NVME_APST_ENABLE, "APSTE", "Autonomous Power State Transition Enable"},
	END,
};

static const struct nvme_cmd_field host_memory[] = {
	{11, 1, 1, "MR", "Memory Return"},
	{11, 0, 0, "EHM", "Enable Host Memory"},
	END,
};

static const struct nvme_cmd_field keep_alive[] = {
	{11, 31, 0, "KATO", "Keep Alive Timeout"},
	END,
};

static const struct nvme_cmd_field thermal[] = {
	{11, 31, 16, "TMT1", "Thermal Management Temperature 1"},
	{11, 15, 0, "TMT2", "Thermal Management Temperature 2"},
	END,
};

static const struct nvme_cmd_field non_operational[] = {
	{11, 0, 0, "NOPPME", "Non-Operational Power State Permissive Mode Enable"},
	END,
};

static const struct nvme_cmd_field host_id[] = {
	{11, 0, 0, "EXHID", "Enable Extended Host Identifier"},
	END,
};

static const struct nvme_cmd_field protection[] = {
	{11, 2, 0, "WPS", "Write Protection State"},
	END,
};

static const struct feature {
	uint8_t fid;
	bool data;
	const struct nvme_cmd_field *fields;
} features[] = {
	{NVME_FEAT_ARBITRATION, false, arbitration},
	{NVME_FEAT_POWER_MANAGEMENT, false, power},
	{NVME_FEAT_LBA_RANGE_TYPE, true, lba_range},
	{NVME_FEAT_TEMPERATURE_THRESHOLD, false, temperature},
	{NVME_FEAT_ERROR_RECOVERY, false, recovery},
	{NVME_FEAT_VOLATILE_WRITE_CACHE, false, write_cache},
	{NVME_FEAT_NUMBER_OF_QUEUES, false, queues},
	{NVME_FEAT_INTERRUPT_COALESCING, false, coalescing},
	{NVME_FEAT_INTERRUPT_VECTOR_CONFIG, false, vector},
	{NVME_FEAT_WRITE_ATOMICITY, false, atomicity},
	{NVME_FEAT_ASYNC_EVENT_CONFIG, false, events},
	{NVME_FEAT_AUTO_POWER_STATE_TRANSITION, true, apst},
	{NVME_FEAT_HOST_MEM_BUFFER, true, host_memory},
	{NVME_FEAT_TIMESTAMP, true, none},
	{NVME_FEAT_KEEP_ALIVE_TIMER, false, keep_alive},
	{NVME_FEAT_HOST_THERMAL_MANAGEMENT, false, thermal},
	{NVME_FEAT_NON_OP_POWER_STATE_CONFIG, false, non_operational},
	{NVME_FEAT_HOST_BEHAVIOR, true, none},
	{NVME_FEAT_HOST_IDENTIFIER, true, host_id},
	{NVME_FEAT_NS_WRITE_PROTECTION, false, protection},
};

static const struct feature *find(const struct nvme_cmd *cmd)
{
	size_t i;

	if (cmd->opc != NVME_OPC_SET_FEATURES && cmd->opc != NVME_OPC_GET_FEATURES)
		return NULL;
	for (i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (features[i].fid == NVME_GET(cmd->cdw10, NVME_FEATURES_FID))
			return &features[i];
	return NULL;
}

const struct nvme_cmd_field *feature_fields(const struct nvme_cmd *cmd)
{
	const struct feature *f = find(cmd);

	return f != NULL ? f->fields : none;
}

/* The host memory buffer of Set Features is named by other dwords; only Get Features moves data. */
bool feature_has_data(const struct nvme_cmd *cmd)
{
	const struct feature *f = find(cmd);

	if (f != NULL && f->fid == NVME_FEAT_HOST_MEM_BUFFER)
		return cmd->opc == NVME_OPC_GET_FEATURES;
	return f == NULL || f->data;
}

/* In kelvins. */
static int put_temperature(char *buf, size_t size, uint32_t v)
{
	return snprintf(buf, size, "%" PRIi64 " degrees Celsius", (int64_t)v - 273);
}

static int put_selection(char *buf, size_t size, uint32_t v)
{
	if (v == 0)
		return snprintf(buf, size, "the composite temperature");
	if (v == 15)
		return snprintf(buf, size, "all sensors");
	return snprintf(buf, size, "%s %" PRIu32, v < 9 ? "sensor" : "reserved", v);
}

static int put_switch(char *buf, size_t size, const struct nvme_cmd_field *f, uint32_t v)
{
	static const char *const states[] = {"no write protection", "write protected",
	                                     "write protected until the power is cycled",
	                                     "write protected for ever"};
	static const char *const kinds[] = {"above it", "below it", "reserved", "reserved"};

	if (strcmp(f->name, "THSEL") == 0)
		return snprintf(buf, size, "%s", kinds[v]);
	if (strcmp(f->name, "WPS") == 0)
		return snprintf(buf, size, "%s", v < 4 ? states[v] : "reserved");
	if (f->hi == f->lo)
		return snprintf(buf, size, "%s", v != 0 ? "yes" : "no");
	return snprintf(buf, size, "%s", "");
}

int feature_value(char *buf, size_t size, const struct nvme_cmd_field *f, uint32_t v)
{
	const char *n = f->name;

	if (strcmp(n, "AB") == 0)
		return v == 7 ? snprintf(buf, size, "no limit")
		              : snprintf(buf, size, "%u command%s at a time", 1u << v,
		                         v != 0 ? "s" : "");
	if (strlen(n) == 3 && strcmp(n + 1, "PW") == 0)
		return snprintf(buf, size, "%" PRIu32 " command%s", v + 1, v != 0 ? "s" : "");
	if (strcmp(n, "NCQR") == 0 || strcmp(n, "NSQR") == 0)
		return snprintf(buf, size, "asks for %" PRIu32 " %s queue%s", v + 1,
		                n[1] == 'C' ? "completion" : "submission", v != 0 ? "s" : "");
	if (strcmp(n, "NUM") == 0)
		return snprintf(buf, size, "%" PRIu32 " range%s", v + 1, v != 0 ? "s" : "");
	if (strcmp(n, "TLER") == 0)
		return v == 0 ? snprintf(buf, size, "no limit")
		              : snprintf(buf, size, "%" PRIu32 " ms", v * 100);
	if (strcmp(n, "TIME") == 0)
		return snprintf(buf, size, "%" PRIu32 " us", v * 100);
	if (strcmp(n, "THR") == 0)
		return snprintf(buf, size, "%" PRIu32 " completion%s", v + 1, v != 0 ? "s" : "");
	if (strcmp(n, "KATO") == 0)
		return v == 0 ? snprintf(buf, size, "off")
		              : snprintf(buf, size, "%" PRIu32 " ms", v);
	if (strcmp(n, "TMPTH") == 0 || (strncmp(n, "TMT", 3) == 0 && v != 0))
		return put_temperature(buf, size, v);
	if (strcmp(n, "TMPSEL") == 0)
		return put_selection(buf, size, v);
	return put_switch(buf, size, f, v);
}
