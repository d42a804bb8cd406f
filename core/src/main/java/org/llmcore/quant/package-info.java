/// From f32 to few bits without calibration data: round to nearest and NF4, as host arrays that are uploaded into a
/// `tensor.QuantMatrix`. Read `GroupedCodes` first.
package org.llmcore.quant;
