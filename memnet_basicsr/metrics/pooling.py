import math


class RegionValue(float):
    """Metric of an image with its number of pixels, so that a dataset can be pooled over pixels.

    Args:
        value (float): The metric; NaN if the image has no pixel of the region.
        pixels (int): Number of pixels of the region.
        power (int): 1 if values pool as means, 2 if they pool as root mean squares. Default: 1.
    """

    def __new__(cls, value, pixels, power=1):
        self = super().__new__(cls, value)
        self.pixels, self.power = pixels, power
        return self

    def __getnewargs__(self):
        return float(self), self.pixels, self.power


def mean_of(values, pooled=False):
    """The figure of a dataset from those of its images.

    Images without a pixel of the region do not count.

    Args:
        values (list[float | RegionValue]): One figure per image.
        pooled (bool): Whether every pixel counts the same, instead of every image:
            (sum_i n_i v_i^p / sum_i n_i)^(1/p), n_i pixels, p power. Needs :class:`RegionValue`. Default: False.

    Returns:
        float: The average; NaN if no image has a pixel of the region.
    """
    values = [v for v in values if not math.isnan(v)]
    if not values:
        return math.nan
    if not pooled:
        return sum(values) / len(values)
    power = values[0].power
    return (sum(v.pixels * v**power for v in values) / sum(v.pixels for v in values))**(1 / power)
