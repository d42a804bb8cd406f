package org.llmcore.train;

import java.awt.Color;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.SeriesMarkers;

/// The picture of a run (`loss.png`): training loss by step as measured and smoothed, and evaluation loss. Steps whose loss is
/// not finite leave a gap.
///
///     m ← 0.9m + 0.1x        smoothed = m / (1 − 0.9ⁿ)        the mean of the past, weighted towards now, without a start at 0
public final class LossCurve {
  private static final int WIDTH = 1000;
  private static final int HEIGHT = 600;
  private static final double MEMORY = 0.9;

  private LossCurve() {}

  /// Draws the values named `loss` and `eval_loss`; without any there is no picture.
  /// @throws IOException if it cannot be written, or if this machine has no fonts to draw with
  public static void write(Path png, String title, List<Metrics.Line> lines) throws IOException {
    var chart = new XYChartBuilder().width(WIDTH).height(HEIGHT).title(title).xAxisTitle("step").yAxisTitle("loss").theme(Styler.ChartTheme.XChart).build();
    chart.getStyler().setLegendPosition(Styler.LegendPosition.InsideNE).setChartBackgroundColor(Color.WHITE);
    var train = values(lines, "loss");
    if (!train.isEmpty()) {
      add(chart, "training", train, new Color(0xB8CBE6), 1);
      add(chart, "training, smoothed", smoothed(train), new Color(0x1F5FAF), 2.5f);
    }
    var held = values(lines, "eval_loss");
    if (!held.isEmpty()) {
      add(chart, "evaluation", held, new Color(0xD8602A), 2.5f);
      chart.getSeriesMap().get("evaluation").setMarker(SeriesMarkers.CIRCLE);
    }
    if (chart.getSeriesMap().isEmpty()) return;
    var image = new ByteArrayOutputStream();
    try {
      BitmapEncoder.saveBitmap(chart, image, BitmapEncoder.BitmapFormat.PNG);
    } catch (LinkageError | InternalError | RuntimeException e) {
      // What AWT throws where fontconfig or every font is missing (bare containers); a run is worth more than its picture.
      throw new IOException("no fonts to draw with: " + e, e);
    }
    Files.write(png, image.toByteArray());
  }

  /// A value at a step.
  record Point(long step, double value) {}

  static List<Point> values(List<Metrics.Line> lines, String name) {
    var points = new ArrayList<Point>();
    for (var line : lines) {
      Double value = line.values().get(name);
      if (value != null && Double.isFinite(value)) points.add(new Point(line.step(), value));
    }
    return points;
  }

  static List<Point> smoothed(List<Point> points) {
    var smooth = new ArrayList<Point>();
    double mean = 0;
    double weight = 0;
    for (var point : points) {
      mean = MEMORY * mean + (1 - MEMORY) * point.value();
      weight = MEMORY * weight + (1 - MEMORY);
      smooth.add(new Point(point.step(), mean / weight));
    }
    return smooth;
  }

  private static void add(XYChart chart, String name, List<Point> points, Color color, float width) {
    var steps = points.stream().mapToDouble(Point::step).toArray();
    var values = points.stream().mapToDouble(Point::value).toArray();
    var series = chart.addSeries(name, steps, values);
    series.setMarker(SeriesMarkers.NONE);
    series.setMarkerColor(color);
    series.setLineColor(color);
    series.setLineWidth(width);
  }
}
