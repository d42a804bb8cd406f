package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import javax.imageio.ImageIO;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

class LossCurveTest {
  @TempDir Path folder;

  @Test
  void thePictureShowsTrainingAndEvaluation() throws IOException {
    var lines = new ArrayList<Metrics.Line>();
    for (int step = 1; step <= 100; step++) {
      lines.add(new Metrics.Line(step, Map.of("loss", 5 / Math.sqrt(step) + 0.1 * (step % 3))));
      if (step % 20 == 0) lines.add(new Metrics.Line(step, Map.of("eval_loss", 5 / Math.sqrt(step))));
    }
    Path png = folder.resolve("loss.png");
    LossCurve.write(png, "a run", lines);
    var image = ImageIO.read(png.toFile());
    assertThat(image.getWidth()).isEqualTo(1000);
    assertThat(image.getHeight()).isEqualTo(600);
    int smoothed = 0;
    int evaluation = 0;
    for (int y = 0; y < image.getHeight(); y++) {
      for (int x = 0; x < image.getWidth(); x++) {
        int rgb = image.getRGB(x, y) & 0xffffff;
        if (rgb == 0x1F5FAF) smoothed++;
        if (rgb == 0xD8602A) evaluation++;
      }
    }
    assertThat(smoothed).isGreaterThan(500);
    assertThat(evaluation).isGreaterThan(200);
  }

  @Test
  void withoutALossThereIsNoPicture() throws IOException {
    Path png = folder.resolve("loss.png");
    LossCurve.write(png, "a run", List.of(new Metrics.Line(1, Map.of("loss", Double.NaN))));
    assertThat(png).doesNotExist();
  }

  @Test
  void smoothingIsAWeightedMeanOfThePast() {
    var points = List.of(new LossCurve.Point(1, 4), new LossCurve.Point(2, 2));
    var smoothed = LossCurve.smoothed(points);
    assertThat(smoothed.get(0).value()).isEqualTo(4, within(1e-12));
    assertThat(smoothed.get(1).value()).isEqualTo((0.9 * 4 + 2) / 1.9, within(1e-12));
  }

  @Test
  void valuesThatAreNotFiniteLeaveAGap() {
    var lines = List.of(new Metrics.Line(1, Map.of("loss", 3.0)), new Metrics.Line(2, Map.of("loss", Double.NaN)), new Metrics.Line(3, Map.of("loss", 1.0)));
    assertThat(LossCurve.values(lines, "loss")).extracting(LossCurve.Point::step).containsExactly(1L, 3L);
  }
}
