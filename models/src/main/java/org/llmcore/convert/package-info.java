/// Models from one format into another. Read `Conversion` first, then `Plan` for what becomes of weights; `Source` reads,
/// `Targets`
/// write, `Agreement` compares.
package org.llmcore.convert;
