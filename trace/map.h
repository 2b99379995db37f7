// SPDX-License-Identifier: MIT
/*
 * A hash table from a 64-bit key to a value of fixed size, for what is known of queues and of
 * commands that are outstanding. Open addressing; a removed entry leaves no trace, so that the table
 * stays as small as what is in it, however long the source.
 */
#ifndef NVTRACE_MAP_H
#define NVTRACE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct map {
	size_t value_size;
	size_t size, count; /* slots: a power of two or 0; how many are used */
	bool *used;
	uint64_t *key;
	unsigned char *value;
};

static inline void map_init(struct map *m, size_t value_size)
{
	memset(m, 0, sizeof(*m));
	m->value_size = value_size;
}

static inline void map_free(struct map *m)
{
	free(m->used);
	free(m->key);
	free(m->value);
	map_init(m, m->value_size);
}

/* Controller, queue and CID as a key; cid 0 for a queue. */
static inline uint64_t map_key(uint32_t ctrlr, uint16_t qid, uint16_t cid)
{
	return (uint64_t)ctrlr << 32 | (uint64_t)qid << 16 | cid;
}

/* Neighbouring keys must not end up in one cluster. */
static inline size_t map_hash(const struct map *m, uint64_t key)
{
	key = (key ^ key >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	key = (key ^ key >> 27) * UINT64_C(0x94d049bb133111eb);
	return (size_t)(key ^ key >> 31) & (m->size - 1);
}

/* The slot of a key, or the free slot where it would go. There is always a free one. */
static inline size_t map_slot(const struct map *m, uint64_t key)
{
	size_t i = map_hash(m, key);

	while (m->used[i] && m->key[i] != key)
		i = (i + 1) & (m->size - 1);
	return i;
}

static inline void *map_at(const struct map *m, size_t i)
{
	return m->value + i * m->value_size;
}

/* NULL: not there. The pointer is good until the next map_put() or map_remove(). */
static inline void *map_get(const struct map *m, uint64_t key)
{
	size_t i;

	if (m->size == 0)
		return NULL;
	i = map_slot(m, key);
	return m->used[i] ? map_at(m, i) : NULL;
}

static inline bool map_grow(struct map *m)
{
	struct map big = {.value_size = m->value_size, .size = m->size ? 2 * m->size : 64};
	size_t i, to;

	big.used = (bool *)calloc(big.size, sizeof(*big.used));
	big.key = (uint64_t *)calloc(big.size, sizeof(*big.key));
	big.value = (unsigned char *)calloc(big.size, big.value_size);
	if (big.used == NULL || big.key == NULL || big.value == NULL) {
		map_free(&big);
		return false;
	}
	for (i = 0; i < m->size; i++) {
		if (!m->used[i])
			continue;
		to = map_slot(&big, m->key[i]);
		big.used[to] = true;
		big.key[to] = m->key[i];
		memcpy(map_at(&big, to), map_at(m, i), m->value_size);
		big.count++;
	}
	map_free(m);
	*m = big;
	return true;
}

/* The value of a key, all zero if it was not there. NULL: no memory. */
static inline void *map_put(struct map *m, uint64_t key)
{
	size_t i;

	if (4 * (m->count + 1) > 3 * m->size && !map_grow(m))
		return NULL;
	i = map_slot(m, key);
	if (!m->used[i]) {
		m->used[i] = true;
		m->key[i] = key;
		memset(map_at(m, i), 0, m->value_size);
		m->count++;
	}
	return map_at(m, i);
}

/* Closes the gap: an entry behind it moves up unless it then stood before its own place. */
static inline void map_remove(struct map *m, uint64_t key)
{
	size_t mask = m->size - 1, gap, i;

	if (map_get(m, key) == NULL)
		return;
	gap = map_slot(m, key);
	for (i = (gap + 1) & mask; m->used[i]; i = (i + 1) & mask) {
		if (((i - map_hash(m, m->key[i])) & mask) < ((i - gap) & mask))
			continue;
		m->key[gap] = m->key[i];
		memcpy(map_at(m, gap), map_at(m, i), m->value_size);
		gap = i;
	}
	m->used[gap] = false;
	m->count--;
}

#endif /* NVTRACE_MAP_H */
