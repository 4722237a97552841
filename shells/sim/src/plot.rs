//! Pictures as SVG: lines over a logarithmic axis.

/// One line of a picture: its name, and its points.
pub type Line = (String, Vec<(f64, f64)>);

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 50.0;
const TOP: f64 = 40.0;
const RIGHT: f64 = 130.0;
/// Colours that people who see few can tell apart. Source: M. Okabe, K. Ito, "Color Universal Design" (2008).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A picture of `lines`; `x` and `y` say what the axes are. If `log`, x runs by factors of ten.
pub fn svg(title: &str, x: &str, y: &str, log: bool, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.1);
    let place = |x: f64| if log { x.max(1e-9).log10() } else { x };
    let (mut low, mut high) = (f64::MAX, f64::MIN);
    points().for_each(|point| (low, high) = (low.min(place(point.0)), high.max(place(point.0))));
    if low >= high {
        (low, high) = (low.min(0.0), low.max(0.0) + 1.0);
    }
    let top = points().map(|point| point.1).fold(1e-9, f64::max) * 1.05;
    let at_x = |x: f64| LEFT + (place(x) - low) / (high - low) * (WIDTH - LEFT - RIGHT);
    let at_y = |y: f64| HEIGHT - BOTTOM - y / top * (HEIGHT - BOTTOM - TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>\n",
        escape(title)
    );
    for step in 0..=5 {
        let value = top * f64::from(step) / 5.0;
        let y = at_y(value);
        out.push_str(&format!(
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.1}</text>\n",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0
        ));
    }
    let mut ticks: Vec<f64> = if log {
        points().map(|point| point.0).collect()
    } else {
        (0..=5).map(|step| low + (high - low) * f64::from(step) / 5.0).collect()
    };
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for tick in ticks {
        out.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            at_x(tick),
            HEIGHT - BOTTOM + 18.0,
            if log { format!("{tick:.0}") } else { format!("{tick:.1}") }
        ));
    }
    out.push_str(&format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
         <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0,
        escape(x),
        HEIGHT / 2.0,
        escape(y)
    ));
    for (n, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y))).collect();
        out.push_str(&format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>\n",
            path.join(" "),
            WIDTH - RIGHT + 8.0,
            TOP + 16.0 * n as f64 + 10.0,
            escape(name)
        ));
    }
    out.push_str("</svg>\n");
    out
}

/// The share of values that do not exceed each: from 0 to 1.
pub fn shares(sorted: &[f64]) -> Vec<(f64, f64)> {
    let share = |n: usize| (n + 1) as f64 / sorted.len() as f64;
    sorted.iter().enumerate().map(|(n, value)| (*value, share(n))).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_holds_its_lines_inside_its_frame() {
        let line = ("0 % & less".to_string(), vec![(100.0, 1.0), (1000.0, 2.0), (10_000.0, 3.0)]);
        let text = svg("title", "nodes", "seconds", true, &[line, ("one".into(), vec![(100.0, 2.0)])]);
        assert!(text.contains("0 % &amp; less") && text.contains("<polyline") && text.ends_with("</svg>\n"));
        let points = text.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{point}");
        }
        assert_eq!(shares(&[1.0, 5.0]), [(1.0, 0.5), (5.0, 1.0)]);
    }
}
