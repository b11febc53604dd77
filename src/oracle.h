/*
 * oracle.h
 *		What PostgreSQL would tell about rows that a policy hides.
 */
#ifndef CAUCE_ORACLE_H
#define CAUCE_ORACLE_H

/* OracleInit defines cauce.hide_activity and installs the hooks. */
extern void OracleInit(void);

/* OracleHideActivity takes this process's statements out of pg_stat_activity, from now on. */
extern void OracleHideActivity(void);

#endif
