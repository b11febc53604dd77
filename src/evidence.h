/*
 * evidence.h
 *		What signed statements about the past have in common: certificates, audit entries.
 */
#ifndef CAUCE_EVIDENCE_H
#define CAUCE_EVIDENCE_H

#include "datatype/timestamp.h"
#include "utils/date.h"

#include "cipher.h"
#include "jose.h"

/* EvidenceTime is a moment in UTC to the microsecond (ISO 8601); EvidenceDate a date. palloc'd. */
extern char *EvidenceTime(TimestampTz moment);
extern char *EvidenceDate(DateADT date);

/* EvidenceDigest is the digest of a signed statement, which the next of its chain repeats. */
extern void EvidenceDigest(const char *jws, uint8 *digest);

/* EvidenceHex prints a digest, EvidenceBytea makes it a value of a column. palloc'd. */
extern char *EvidenceHex(const uint8 *digest);
extern Datum EvidenceBytea(const uint8 *digest);

#endif
