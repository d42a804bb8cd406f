/// The meaning of every kernel: naive loops in double precision, one page per operator, no speed and no cleverness. Every
/// other device is checked against this one, and this one against central differences and published values.
package org.llmcore.reference;
