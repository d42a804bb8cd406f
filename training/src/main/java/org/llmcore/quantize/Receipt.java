package org.llmcore.quantize;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;

import org.llmcore.checkpoint.AtomicFile;

/// What quantizing a model cost and what it gained, as `quantize-report.json` and `quantize-report.html`: one file, no scripts,
/// nothing loaded from elsewhere.
///
/// @param tokens calibration tokens
/// @param comparison the result beside the original
/// @param nearest rounding to nearest at the same bits beside the original, where the method is another
/// @param bytesBefore bytes of the original's weights as they were stored
/// @param bytesAfter bytes of the new weights
public record Receipt(String model, Settings settings, long tokens, List<ModelQuantizer.Layer> layers,
    Optional<Comparison> comparison, Optional<Comparison> nearest,
    long bytesBefore, long bytesAfter, double seconds, List<String> notes) {
  private static final int BAR = 360;

  /// Writes both files into a folder.
  public void write(Path folder) {
    try {
      AtomicFile.write(folder.resolve("quantize-report.json"), new ObjectMapper().writerWithDefaultPrettyPrinter()
          .writeValueAsString(toMap()) + "\n");
    } catch (JsonProcessingException e) {
      throw new IllegalStateException(e);
    }
    AtomicFile.write(folder.resolve("quantize-report.html"), html());
  }

  /// One sentence on whether the result can be used.
  public String verdict() {
    if (comparison.isEmpty()) return "not judged: there was no text apart from the calibration's";
    var c = comparison.get();
    var change = format("perplexity %.3f → %.3f (× %.3f), the likeliest token is the same in %.1f %%", c.original().value(),
        c.quantized().value(), c.ratio().value(), 100 * c.agreement().accuracy());
    return switch (c.verdict()) {
      case GOOD -> "good: " + change;
      case DEGRADED -> "degraded: " + change + "; more bits, smaller groups or --act-order may help";
      case UNUSABLE -> "UNUSABLE: " + change + "; use more bits";
    };
  }

  /// The perplexity of the result over that of rounding to nearest at the same bits, where that was measured.
  Optional<Comparison.Measure> overNearest() {
    return nearest.flatMap(n -> comparison.map(c -> c.over(n)));
  }

  /// One sentence on what the method gained over rounding to nearest at the same bits, where that was measured.
  public Optional<String> gain() {
    return overNearest().map(m -> {
      var n = nearest.orElseThrow();
      var said = m.tie() ? "a tie on this text" : m.value() < 1 ? "better" : "WORSE: use more or other calibration text, or --method rtn";
      return format("round to nearest at the same bits: perplexity %.3f (× %.3f), KL %.5f against %.5f nats per token; ours is × %s of it: %s",
          n.quantized().value(), n.ratio().value(), n.kl(), comparison.orElseThrow().kl(), words(m), said);
    });
  }

  /// The content of the JSON file.
  public Map<String, Object> toMap() {
    var out = new LinkedHashMap<String, Object>();
    out.put("model", model);
    out.put("method", settings.method().name().toLowerCase(Locale.ROOT));
    out.put("bits", settings.bits());
    out.put("mixed", mixed());
    out.put("bits_per_weight", bitsPerWeight());
    out.put("group", settings.group());
    out.put("symmetric", settings.symmetric());
    out.put("act_order", settings.actOrder());
    out.put("static_groups", settings.staticGroups());
    out.put("mse", settings.mse());
    out.put("calibration_tokens", tokens);
    out.put("seconds", seconds);
    out.put("bytes_before", bytesBefore);
    out.put("bytes_after", bytesAfter);
    out.put("verdict", verdict());
    comparison.ifPresent(c -> out.put("held_out", comparison(c)));
    nearest.ifPresent(c -> out.put("held_out_rtn", comparison(c)));
    overNearest().ifPresent(m -> out.put("perplexity_over_rtn", measure(m)));
    out.put("layers", layers.stream().map(Receipt::layer).toList());
    out.put("notes", notes);
    return out;
  }

  /// Stored bits per weight of the quantized layers, scales and zeros included.
  double bitsPerWeight() {
    long weights = layers.stream().mapToLong(l -> (long) l.outputs() * l.inputs()).sum();
    return (double) layers.stream().mapToLong(ModelQuantizer.Layer::stored).sum() / weights;
  }

  private boolean mixed() {
    return layers.stream().mapToInt(ModelQuantizer.Layer::bits).distinct().count() > 1;
  }

  private static Map<String, Object> comparison(Comparison c) {
    var m = new LinkedHashMap<String, Object>();
    m.put("verdict", c.verdict().name().toLowerCase(Locale.ROOT));
    m.put("tokens", c.tokens());
    m.put("perplexity_before", measure(c.original()));
    m.put("perplexity_after", measure(c.quantized()));
    m.put("perplexity_ratio", measure(c.ratio()));
    m.put("kl_nats_per_token", c.kl());
    m.put("top1_agreement", c.agreement().accuracy());
    m.put("top1_agreement_low", c.agreement().low());
    m.put("top1_agreement_high", c.agreement().high());
    return m;
  }

  private static Map<String, Object> measure(Comparison.Measure m) {
    var out = new LinkedHashMap<String, Object>();
    out.put("value", m.value());
    m.low().ifPresent(v -> out.put("low", v));
    m.high().ifPresent(v -> out.put("high", v));
    return out;
  }

  private static Map<String, Object> layer(ModelQuantizer.Layer l) {
    var out = new LinkedHashMap<String, Object>();
    out.put("name", l.name());
    out.put("outputs", l.outputs());
    out.put("inputs", l.inputs());
    out.put("bits", l.bits());
    l.roundToNearest().ifPresent(e -> out.put("error_rtn", e));
    l.error().ifPresent(e -> out.put("error", e));
    out.put("damp", l.damp());
    out.put("dead_inputs", l.dead());
    out.put("seconds", l.seconds());
    return out;
  }

  private String html() {
    var s = new StringBuilder();
    s.append("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Quantization receipt</title><style>")
        .append("body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}")
        .append("table{border-collapse:collapse}td,th{padding:.15rem .7rem;text-align:right}")
        .append("td:first-child,th:first-child{text-align:left}")
        .append("tr:nth-child(even){background:#f4f6f9}svg text{font:11px system-ui,sans-serif}</style>\n");
    s.append("<h1>").append(escape(model)).append("</h1>\n<p><b>").append(escape(verdict())).append("</b></p>\n<table>");
    row(s, "method", settings.method() + ", " + (mixed() ? "mixed" : settings.bits()) + " bits, "
        + (settings.group() < 0 ? "one group per row" : "groups of " + settings.group())
        + (settings.symmetric() ? ", symmetric" : ", asymmetric") + (settings.actOrder() ? ", act-order" : "")
            + (settings.staticGroups() ? ", static groups" : "")
        + (settings.mse() ? ", least-error grids" : ""));
    row(s, "calibration", format("%,d tokens", tokens));
    row(s, "bits per weight", format("%.3f, scales and zeros included", bitsPerWeight()));
    row(s, "size", format("%,d → %,d bytes (%.1f %%)", bytesBefore, bytesAfter, 100.0 * bytesAfter / bytesBefore));
    row(s, "time", format("%.1f s", seconds));
    comparison.ifPresent(c -> {
      row(s, "held-out text", format("%,d tokens", c.tokens()));
      row(s, "perplexity before", words(c.original()));
    });
    s.append("</table>\n");
    if (comparison.isPresent()) judged(s);
    for (var note : notes) s.append("<p>").append(escape(note)).append("</p>\n");
    if (layers.stream().anyMatch(l -> l.error().isPresent())) s.append("<h2>Error of each layer</h2>\n").append(chart());
    s.append("<h2>Layers</h2>\n<table><tr><th>layer<th>shape<th>bits<th>error, nearest"
        + "<th>error<th>damping<th>dead inputs<th>seconds</tr>\n");
    for (var l : layers) {
      s.append("<tr><td>").append(escape(l.name())).append("<td>").append(l.outputs()).append(" × ").append(l.inputs())
          .append("<td>").append(l.bits())
          .append("<td>").append(error(l.roundToNearest())).append("<td>").append(error(l.error())).append("<td>")
              .append(format("%.3g", l.damp()))
          .append("<td>").append(l.dead()).append("<td>").append(format("%.2f", l.seconds())).append("</tr>\n");
    }
    return s.append("</table></html>\n").toString();
  }

  private void judged(StringBuilder s) {
    s.append("<h2>Held-out text</h2>\n<table>"
        + "<tr><th>method<th>perplexity<th>ratio<th>KL, nats per token<th>same likeliest token</tr>\n");
    nearest.ifPresent(c -> judged(s, "round to nearest", c));
    judged(s, "as stored", comparison.orElseThrow());
    s.append("</table>\n");
    gain().ifPresent(g -> s.append("<p>").append(escape(g)).append("</p>\n"));
  }

  private static void judged(StringBuilder s, String name, Comparison c) {
    s.append("<tr><td>").append(name).append("<td>").append(words(c.quantized())).append("<td>").append(words(c.ratio()))
        .append("<td>").append(format("%.5f", c.kl())).append("<td>").append(escape(c.agreement().toString())).append("</tr>\n");
  }

  /// Two bars per layer on a logarithmic axis.
  private String chart() {
    double least = layers.stream().flatMapToDouble(l -> l.error().stream()).filter(e -> e > 0).min().orElse(1e-6);
    double low = Math.floor(Math.log10(least));
    double high = Math.max(low + 1,
        Math.ceil(Math.log10(layers.stream().flatMapToDouble(l -> l.roundToNearest().stream()).filter(Double::isFinite).max()
        .orElse(1))));
    int line = 22;
    int height = layers.size() * line + 40;
    var s = new StringBuilder(format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" role=\"img\">", 300
        + BAR + 20, height));
    s.append("<text x=\"300\" y=\"12\" fill=\"#b8cbe6\">■ round to nearest</text>"
        + "<text x=\"420\" y=\"12\" fill=\"#1f5faf\">■ as stored</text>");
    for (double d = low; d <= high; d++) {
      double x = 300 + BAR * (d - low) / (high - low);
      s.append(format("<line x1=\"%.1f\" x2=\"%.1f\" y1=\"20\" y2=\"%d\" stroke=\"#ddd\"/>"
          + "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">1e%d</text>", x, x, height - 18, x, height - 4, (int) d));
    }
    for (int i = 0; i < layers.size(); i++) {
      var l = layers.get(i);
      int y = 24 + i * line;
      s.append(format("<text x=\"294\" y=\"%d\" text-anchor=\"end\">%s</text>", y + 12, escape(l.name())));
      bar(s, l.roundToNearest(), y, "#b8cbe6", low, high);
      bar(s, l.error(), y + 8, "#1f5faf", low, high);
    }
    return s.append("</svg>\n").toString();
  }

  private static void bar(StringBuilder s, OptionalDouble error, int y, String color, double low, double high) {
    if (error.isEmpty() || !(error.getAsDouble() > 0)) return;
    double width = BAR * Math.clamp((Math.log10(error.getAsDouble()) - low) / (high - low), 0, 1);
    s.append(format("<rect x=\"300\" y=\"%d\" width=\"%.1f\" height=\"7\" fill=\"%s\"/>", y, width, color));
  }

  private static void row(StringBuilder s, String name, String value) {
    s.append("<tr><td>").append(name).append("<td>").append(escape(value)).append("</tr>\n");
  }

  private static String words(Comparison.Measure m) {
    return format("%.4f", m.value())
        + (m.low().isPresent() ? format(" (95 %% interval %.4f … %.4f)", m.low().getAsDouble(), m.high().getAsDouble()) : "");
  }

  private static String error(OptionalDouble e) {
    return e.isPresent() ? format("%.3g", e.getAsDouble()) : "";
  }

  private static String escape(String text) {
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\"", "&quot;");
  }

  private static String format(String pattern, Object... values) {
    return String.format(Locale.ROOT, pattern, values);
  }
}
