/** Passcodes that the user has given in this visit, by meeting code; not kept beyond the tab's page. */
export const passcodes = new Map<string, string>();
