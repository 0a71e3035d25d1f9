"""The process that mirrors an object store, where the exports are one."""
